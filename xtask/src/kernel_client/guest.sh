#!/bin/bash
# The first process of a guest of `cargo xtask kernel-client`.
#
# The host sends lines "NUMBER COMMAND" on the second serial port. What a command prints goes back there, each line behind "| ", and at
# last "= NUMBER STATUS". All that goes to standard error, and the kernel's messages, is on the first serial port, the console, together
# with the commands. The kernel's command line gives the variables `initiator`, `portal` and `target`.

# How long to wait for a disk, in tenths of a second.
disk_tries=300
# A guest that nobody ends does so itself, after so many seconds.
lifetime=3600

bring_up() {
  mount -t devtmpfs dev /dev
  exec </dev/ttyS0 >/dev/ttyS0 2>&1
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  ln -s /proc/self/fd /dev/fd
  mount -t tmpfs run /run
  mkdir -p /run/lock /mnt/a /mnt/b
  local module
  while read -r module; do insmod "/modules/$module"; done </modules/order
  ip link set lo up
  ip addr add 10.0.2.15/24 dev eth0
  ip link set eth0 up
  echo "InitiatorName=$initiator" >/etc/iscsi/initiatorname.iscsi
  iscsid -f &
  until grep -q ISCSIADM_ABSTRACT_NAMESPACE /proc/net/unix; do sleep 0.1; done
  { sleep "$lifetime"; poweroff -f; } &
}

# Takes back what a check has left behind, whether it held or not.
clean() {
  local folder
  end_background
  for folder in /mnt/*; do
    while mountpoint -q "$folder"; do umount "$folder" || umount -l "$folder"; done
  done
  iscsiadm -m session >/dev/null 2>&1 && iscsiadm -m node --logoutall=all >/dev/null
  rm -rf /etc/iscsi/nodes /etc/iscsi/send_targets
  find /run -maxdepth 1 -type f ! -name '*.pid' -exec rm {} +
  dmesg -c >/dev/null
}

# Runs something in the background, which goes on while there is no /run/stop.
background() {
  "$@" >/dev/ttyS0 2>&1 3>&- &
  echo $! >>/run/background
}

# Ends what runs in the background, and waits for it.
end_background() {
  local pid
  [[ -e /run/background ]] || return 0
  touch /run/stop
  while read -r pid; do
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
  done </run/background
  rm /run/background /run/stop
}

# Logs in: HEADER-DIGEST DATA-DIGEST, then names and values of further settings. The record is made by hand, because a discovery names the
# address that the target has for itself, and here it is the guest's own.
log_in() {
  local node=(iscsiadm -m node -T "$target" -p "$portal")
  "${node[@]}" -o new >/dev/null
  "${node[@]}" -o update -n 'node.conn[0].iscsi.HeaderDigest' -v "$1"
  "${node[@]}" -o update -n 'node.conn[0].iscsi.DataDigest' -v "$2"
  shift 2
  while (($#)); do
    "${node[@]}" -o update -n "$1" -v "$2"
    shift 2
  done
  "${node[@]}" --login >/dev/null
}

log_out() {
  iscsiadm -m node -T "$target" -p "$portal" --logout >/dev/null
}

# Whether the kernel has said something since its messages were last taken.
kernel_said() {
  dmesg | grep -F "$1" >/dev/null
}

# Asks the target for its LUNs again.
rescan() {
  iscsiadm -m session --rescan >/dev/null
}

# The disk of a LUN number, as soon as it is there, and is not that of another path: NUMBER [OTHER].
disk_of() {
  local tries device block
  for ((tries = 0; tries < disk_tries; tries++)); do
    for device in /sys/class/scsi_device/*:*:*:"$1"/device; do
      [[ -e $device/state && $(<"$device/state") == running ]] || continue
      for block in "$device"/block/*; do
        [[ -b /dev/${block##*/} && /dev/${block##*/} != "${2-}" ]] && echo "/dev/${block##*/}" && return
      done
    done
    sleep 0.1
  done
  echo "there is no disk with the LUN number $1" >&2
  return 1
}

# Fills a folder with files of many lengths, and changes some of them afterwards.
fill() {
  local number inner=$1/folder/inner
  mkdir -p "$inner"
  head -c 12M /dev/urandom >"$1/large"
  for number in {1..40}; do head -c $((number * 517)) /dev/urandom >"$inner/file-$number"; done
  : >"$1/empty"
  head -c 300K /dev/urandom | dd of="$1/large" bs=1000 seek=777 conv=notrunc status=none iflag=fullblock
  head -c 64K /dev/urandom | dd of="$1/sparse" bs=64K seek=50 status=none iflag=fullblock
  mv "$inner/file-1" "$1/folder/a name with blanks"
  rm "$inner/file-2"
  truncate -s 1234 "$inner/file-3"
}

# All files below a folder with their hashes.
hashes() {
  (cd "$1" && find . -type f -exec sha256sum {} + | sort -k 2)
}

# Whether the files below a folder are those of /run/hashes. What the kernel has read before is forgotten first.
compare() {
  echo 3 >/proc/sys/vm/drop_caches
  hashes "$1" >/run/hashes-now
  cmp /run/hashes /run/hashes-now
}

# Writes 4 KiB of one letter to the beginning of a disk, and flushes it: DISK LETTER.
write_letter() {
  printf '%4096s' '' | tr ' ' "$2" | dd of="$1" bs=4096 count=1 iflag=fullblock oflag=direct conv=notrunc,fsync status=none
}

# The letter that the beginning of a disk is full of.
letter_at() {
  local block
  block=$(dd if="$1" bs=4096 count=1 iflag=direct status=none)
  [[ ${#block} == 4096 && -z ${block//${block:0:1}/} ]]
  echo "${block:0:1}"
}

# Appends records to a file without end, each flushed, and notes in /run/flushed how many there are, and when the last one was flushed.
record() {
  local number=0 up
  while [[ ! -e /run/stop ]]; do
    if ! printf '%04095d\n' "$number" | dd of="$1" bs=4096 seek="$number" conv=notrunc,fsync iflag=fullblock status=none; then
      touch /run/write-failed
      return
    fi
    number=$((number + 1))
    read -r up _ </proc/uptime
    echo "$number $up" >>/run/flushed
  done
}

# Whether so many records are in a file, each in its place: FILE COUNT.
records_are_whole() {
  awk -v count="$2" '
    { sub(/^0+/, ""); if ($0 + 0 != NR - 1) { wrong = NR; exit } }
    END {
      if (wrong) { print "record " wrong " is wrong"; exit 1 }
      if (NR < count) { print NR " records of " count " are there"; exit 1 }
    }
  ' "$1" >&2
}

# The content of a numbered file of the load.
load_content() {
  echo "$1"
  cat /run/pattern
}

# Writes files over and over, each flushed, and notes the number of each in /run/loaded.
load() {
  local number=0
  while [[ ! -e /run/stop ]]; do
    if ! load_content "$number" | dd of="$1/load-$number" bs=64K conv=fsync iflag=fullblock status=none; then
      touch /run/write-failed
      return
    fi
    echo "$number" >>/run/loaded
    number=$(((number + 1) % 32))
  done
}

# Whether every file of the load that was flushed is whole: FOLDER.
load_is_whole() {
  local number
  for number in $(sort -u /run/loaded); do load_content "$number" | cmp - "$1/load-$number"; done
}

# sg_persist, again when it is told of a unit attention, which is status 6.
persist() {
  local try status
  for try in 1 2 3; do
    sg_persist --no-inquiry "$@" && return
    status=$?
    [[ $status == 6 ]] || break
  done
  return "$status"
}

obey() {
  local number command output status
  exec 3<>/dev/ttyS1
  stty -F /dev/ttyS1 raw -echo 115200
  echo '= 0 0' >&3
  while IFS=' ' read -r -u 3 number command; do
    echo "+ $command"
    output=$(set -eo pipefail; eval "$command")
    status=$?
    if [[ -n $output ]]; then
      printf '%s\n' "$output"
      printf '%s\n' "$output" | sed 's/^/| /' >&3
    fi
    echo "= $number $status" >&3
  done
}

export PATH=/usr/bin
bring_up
obey
poweroff -f
