//! A server that ends when nobody needs it.

use std::time::{Duration, Instant};

use lunshadow_vss::{HResult, Method};
use lunshadow_windows::planted::{Command, Fault, ResyncEnd};
use lunshadow_windows::raw::{PlantedServer, RawProvider};

use crate::rig::{OK, array_of, shadows_of, sources};

/// Long enough to make an object in.
const IDLE_FOR: Duration = Duration::from_secs(2);

fn server() -> PlantedServer {
    PlantedServer::start_idle(env!("CARGO_BIN_EXE_planted-provider"), IDLE_FOR).expect("the server starts")
}

/// A call that takes longer than the server waits.
fn outlast(server: &PlantedServer, provider: &RawProvider) {
    let longer = IDLE_FOR + IDLE_FOR / 2;
    server.plant(Method::OnLoad.name(), Fault::DelayMs(longer.as_millis().try_into().expect("small")));
    assert_eq!(provider.on_load(), OK);
}

#[test]
fn a_server_ends_when_its_last_object_is_gone_and_not_before() {
    let mut server = server();
    let provider = server.provider();
    outlast(&server, &provider);
    assert!(!server.has_ended(), "somebody has an object");
    assert_eq!(shadows_of(&provider, &[1]).len(), 1);
    drop(provider);
    assert!(server.ends_in_good_order());
    let late = RawProvider::create(server.class()).map(drop);
    assert!(late.is_err(), "nobody is let in any more");
}

#[test]
fn a_server_that_nobody_asks_for_ends_too() {
    assert!(server().ends_in_good_order());
}

#[test]
fn p_111_p_118_a_resync_that_nobody_holds_keeps_the_server() {
    let mut server = server();
    let provider = server.provider();
    let shadows = shadows_of(&provider, &[1]);
    let (answer, operation) = provider.resync(Some(&mut array_of(&shadows)), Some(&mut sources(&[1])), 1);
    assert_eq!((answer, operation.is_some()), (OK, true));
    drop((operation, provider));
    let until = Instant::now() + 2 * IDLE_FOR;
    while Instant::now() < until {
        assert!(!server.has_ended(), "a resync runs");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Who comes back finds it.
    assert_eq!(server.provider().on_unload(false), HResult::S_FALSE);
    server.ask(&Command::EndResync(ResyncEnd::Finished)).expect("the process runs");
    assert!(server.ends_in_good_order());
}
