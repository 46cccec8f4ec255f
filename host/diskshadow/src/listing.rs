//! What `list` prints.

use std::time::SystemTime;

use lunshadow_vss::Context;

use crate::aliases::Aliases;
use crate::command::WriterDetail;
use crate::vss::{Output, RegisteredProvider, ShadowCopy, Volume, WriterReport};

/// A volume's name with the place at which people know it.
pub(crate) fn volume(volume: &Volume) -> String {
    let mounted = volume.mounted_at.as_ref().map(|place| format!(" [{place}]")).unwrap_or_default();
    format!("{}{mounted}", volume.name)
}

pub(crate) fn shadows(output: &mut dyn Output, shadows: &[ShadowCopy], aliases: &Aliases) {
    for shadow in shadows {
        let alias = |id: String| aliases.of(&id).map(|name| format!("  %{name}%")).unwrap_or_default();
        let exposed = shadow.exposed_at.as_ref().map_or_else(|| "no".to_owned(), ToString::to_string);
        let (id, set) = (shadow.id.to_string(), shadow.set.to_string());
        for line in [
            format!("shadow copy {id}{}", alias(id.clone())),
            format!("    set              {set}{}", alias(set.clone())),
            format!("    copies in set    {} originally", shadow.original_count),
            format!("    original volume  {}", volume(&shadow.volume)),
            format!("    created          {}", time(shadow.created)),
            format!("    on               {}", shadow.devices.join(", ")),
            format!("    exposed          {exposed}"),
            format!("    provider         {}", shadow.provider),
            format!("    attributes       {}", attributes(shadow.attributes)),
        ] {
            output.say(&line);
        }
    }
    output.say(&format!("number of shadow copies listed: {}", shadows.len()));
}

pub(crate) fn providers(output: &mut dyn Output, providers: &[RegisteredProvider]) {
    for RegisteredProvider { id, name } in providers {
        output.say(&format!("provider {id}  {name}"));
    }
    output.say(&format!("number of providers listed: {}", providers.len()));
}

pub(crate) fn writers(output: &mut dyn Output, writers: &[WriterReport], detail: WriterDetail) {
    let (components, state) = match detail {
        WriterDetail::Plain => (false, false),
        WriterDetail::Metadata => (true, false),
        WriterDetail::Status => (false, true),
        WriterDetail::Detailed => (true, true),
    };
    for writer in writers {
        output.say(&format!("writer {}  {}", writer.id, writer.name));
        for component in writer.components.iter().filter(|_| components) {
            output.say(&format!("    component  {component}"));
        }
        if state {
            let failure = writer.failure.as_ref().map(|failure| format!(", {failure}")).unwrap_or_default();
            output.say(&format!("    state      {}{failure}", writer.state));
        }
    }
    output.say(&format!("number of writers listed: {}", writers.len()));
}

/// In UTC; beyond the year 9999 there is no such text.
fn time(time: SystemTime) -> String {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let last = std::time::Duration::from_secs(253_402_300_799);
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + since_1970.min(last)).to_string()
}

fn attributes(attributes: Context) -> String {
    let names = [
        (Context::PERSISTENT, "persistent"),
        (Context::CLIENT_ACCESSIBLE, "client-accessible"),
        (Context::NO_AUTO_RELEASE, "no-auto-release"),
        (Context::NO_WRITERS, "no-writers"),
        (Context::TRANSPORTABLE, "transportable"),
        (Context::NO_AUTORECOVERY, "no-autorecovery"),
        (Context::ROLLBACK_RECOVERY, "rollback-recovery"),
        (Context::TXF_RECOVERY, "txf-recovery"),
        (Context::AUTORECOVER, "autorecovered"),
        (Context::HARDWARE_ASSISTED, "hardware-assisted"),
        (Context::DIFFERENTIAL, "differential"),
        (Context::PLEX, "plex"),
        (Context::IMPORTED, "imported"),
        (Context::EXPOSED_LOCALLY, "exposed-locally"),
    ];
    let names: Vec<_> = names.iter().filter(|(bit, _)| attributes.contains(*bit)).map(|(_, name)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}
