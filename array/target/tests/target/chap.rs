//! Who is let in when initiators have to prove their names.

use lunshadow_control::Secret;
use lunshadow_iscsi::login::{
    CHAP_CHALLENGE_BYTES, ChapChallenge, ChapCredential, ChapError, ChapSecret, InitiatorChap, InitiatorLoginConfig,
    LoginError, LoginPath, LoginStatus,
};
use lunshadow_iscsi::negotiation::Preferences;
use lunshadow_lun::{ChapAccount, ChapAccounts};
use lunshadow_target::Limits;

use crate::peer::{Array, Peer, initiator, login};

const HOST: (&str, &str) = ("host", "the host's secret");
const ARRAY: (&str, &str) = ("array", "the array's secret");

fn account((name, secret): (&str, &str)) -> ChapAccount {
    ChapAccount { name: name.to_owned(), secret: Secret::new(secret) }
}

fn credential((name, secret): (&str, &str)) -> ChapCredential {
    ChapCredential { name: name.to_owned(), secret: ChapSecret::new(secret).expect("long enough") }
}

/// A login of initiator `one`, or of another one.
fn with(name: &str, own: (&str, &str), target: Option<(&str, &str)>) -> InitiatorLoginConfig {
    let challenge = || ChapChallenge { identifier: 1, bytes: [1; CHAP_CHALLENGE_BYTES] };
    let target = target.map(|target| (credential(target), challenge()));
    let chap = Some(InitiatorChap { own: credential(own), target });
    InitiatorLoginConfig { chap, ..login(name, Preferences::default()) }
}

#[tokio::test]
async fn an_initiator_with_a_secret_has_to_know_it() {
    let array = Array::new(Limits::default()).await;
    array.map.demand(&initiator("one"), ChapAccounts { initiator: account(HOST), array: Some(account(ARRAY)) });
    let try_it = async |config| match Peer::log_in(array.address(), config).await {
        Ok(mut peer) => {
            assert_eq!(peer.ping(b"hello").await, "hello");
            Ok(())
        }
        Err(error) => Err(error),
    };
    let refused = Err(LoginError::Refused { status: LoginStatus::AUTHENTICATION_FAILURE });

    assert_eq!(try_it(with("one", HOST, None)).await, Ok(()));
    assert_eq!(try_it(with("one", HOST, Some(ARRAY))).await, Ok(()));
    assert_eq!(try_it(with("one", (HOST.0, ARRAY.1), None)).await, refused);
    assert_eq!(try_it(with("one", ("another", HOST.1), None)).await, refused);
    let impostor = try_it(with("one", HOST, Some((ARRAY.0, HOST.1)))).await;
    assert_eq!(impostor, Err(LoginError::NotAuthenticated(ChapError::Wrong)));
    for path in [LoginPath::SecurityThenOperational, LoginPath::OperationalOnly, LoginPath::SecurityOnly] {
        let config = InitiatorLoginConfig { path, ..login("one", Preferences::default()) };
        assert_eq!(try_it(config).await, refused, "{path:?}");
    }
    // To ask for targets takes the same proof.
    let discovery = InitiatorLoginConfig { target_name: None, ..login("one", Preferences::default()) };
    assert_eq!(try_it(discovery).await, refused);
    // What one initiator has to prove is nothing to another one.
    assert_eq!(try_it(login("two", Preferences::default())).await, Ok(()));
    assert_eq!(try_it(with("two", HOST, None)).await, refused, "it offers CHAP only, and nobody knows a secret of it");
}

#[tokio::test]
async fn a_failed_login_does_not_end_the_session_that_it_would_replace() {
    let array = Array::new(Limits::default()).await;
    array.map.demand(&initiator("one"), ChapAccounts { initiator: account(HOST), array: None });
    let mut peer = Peer::log_in(array.address(), with("one", HOST, None)).await.expect("a login");
    let refused = Peer::log_in(array.address(), with("one", ARRAY, None)).await;
    assert!(matches!(refused, Err(LoginError::Refused { .. })), "the same initiator name and ISID");
    assert_eq!(peer.ping(b"still here").await, "still here");
}

// RFC 7143 §9.2.1 MUST: whoever has a CHAP secret of less than 96 bits needs IPsec, and without it is not let in.
#[tokio::test]
async fn a_secret_that_is_too_short_lets_nobody_in() {
    let array = Array::new(Limits::default()).await;
    array.map.demand(&initiator("one"), ChapAccounts { initiator: account(("host", "short")), array: None });
    let refused = Peer::log_in(array.address(), with("one", HOST, None)).await.err();
    assert_eq!(refused, Some(LoginError::Refused { status: LoginStatus::TARGET_ERROR }));
}
