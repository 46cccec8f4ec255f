//! Bounds on what initiators can make the target hold, and for how long.

use std::time::Duration;

/// Bounds on what initiators can make the target hold, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections that may be logging in at a time. One more takes the place of the one that has been at it for longest, so that
    /// connections that never log in do not keep out those that do.
    pub logins: usize,
    /// Sessions at a time, those for discovery included; more are refused.
    pub sessions: usize,
    /// Sessions that one initiator may have; more are refused.
    pub sessions_per_initiator: usize,
    /// Commands that one session may have under way; at least 2.
    pub command_window: u32,
    /// Bytes that the reads and the solicited writes of one connection may hold. Commands beyond wait their turn. One command is always let
    /// through, however small this is.
    pub connection_bytes: u32,
    /// What `connection_bytes` of all connections may come to. Each has an equal share, so that no initiator takes anything from another; the
    /// command windows are made smaller too, so that unsolicited data stays within a second such amount.
    pub total_bytes: u64,
    /// How long a connection may take to log in.
    pub login_time: Duration,
    /// How long an initiator may be silent before it is asked whether it is there (NOP-In).
    pub probe_after: Duration,
    /// How long an initiator may take to answer such a question, to send data that it announced or was asked for, and to take some of what
    /// it is sent. A connection on which nothing happens for that long is closed.
    pub answer_time: Duration,
    /// How long initiators have, when the target shuts down, to log out as they are asked to.
    pub logout_time: Duration,
    /// How long, after that, commands under way may take.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logins: 64,
            sessions: 256,
            sessions_per_initiator: 64,
            command_window: 128,
            connection_bytes: 32 << 20,
            total_bytes: 1 << 30,
            login_time: Duration::from_secs(15),
            probe_after: Duration::from_secs(15),
            answer_time: Duration::from_secs(30),
            logout_time: Duration::from_secs(2),
            drain_time: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// What one connection may hold while there are so many sessions.
    pub(crate) fn share_bytes(&self, sessions: usize) -> u32 {
        let each = self.total_bytes / u64::try_from(sessions.max(1)).unwrap_or(u64::MAX);
        u32::try_from(each).unwrap_or(u32::MAX).min(self.connection_bytes)
    }

    /// The command window of a session with this share, of which each command may bring a first burst unasked.
    pub(crate) fn window(&self, share_bytes: u32, first_burst_length_bytes: u32) -> u32 {
        (share_bytes / first_burst_length_bytes.max(1)).min(self.command_window).max(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_together_stay_within_the_total() {
        let limits = Limits::default();
        for sessions in [0, 1, 31, 32, 33, 100, limits.sessions] {
            let share = limits.share_bytes(sessions);
            assert!(u64::from(share) * u64::try_from(sessions).expect("few") <= limits.total_bytes);
            assert!(share == limits.connection_bytes || sessions > 32);
            let unasked = u64::from(limits.window(share, 262_144)) * 262_144;
            assert!(unasked <= u64::from(share), "{unasked} bytes may come unasked where {share} are the share");
        }
        assert_eq!(limits.window(0, 262_144), 2, "Windows refuses a window of one");
        assert_eq!(limits.window(u32::MAX, 512), limits.command_window);
    }
}
