//! The process: the product's shells and server around the provider with planted faults, and a test at the other end of its pipes.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Duration;

use lunshadow_provider_com::server::{Lifetime, ProviderClass, StopSignal, initialise_security, serve_and_tell};
use uuid::Uuid;
use windows_core::Result;

use super::{Command, Planted};

/// Serves the class until it is told to stop, or the test is gone, or nobody has needed it for `idle_for`.
///
/// # Errors
/// What COM says when the class cannot be registered.
pub fn serve(class_id: Uuid, idle_for: Option<Duration>) -> Result<()> {
    initialise_security()?;
    let planted = Planted::new();
    let stop = StopSignal::new();
    let class = ProviderClass { class_id, provider: planted.provider(), on_panic: planted.panic_recorder() };
    let lifetime = Lifetime { idle_for, stop: stop.clone() };
    let planted = Arc::new(planted);
    serve_and_tell(class, lifetime, move || {
        std::thread::spawn(move || {
            talk(&planted);
            stop.stop();
        });
    })
}

/// Answers commands until one of them is to stop, or there are no more.
fn talk(planted: &Planted) {
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let answer = serde_json::from_str::<Command>(&line)
            .map_err(|error| error.to_string())
            .and_then(|command| Ok((planted.obey(&command)?, matches!(command, Command::Stop))))
            .and_then(|(state, last)| Ok((serde_json::to_string(&state).map_err(|error| error.to_string())?, last)));
        // What is no answer ends the talk: the test then finds the pipe closed.
        let Ok((answer, last)) = answer else { return };
        if writeln!(output, "{answer}").and_then(|()| output.flush()).is_err() || last {
            return;
        }
    }
}
