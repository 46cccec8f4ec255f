//! Text keys, their limits, and SendTargets.

use bytes::Bytes;
use lunshadow_iscsi::discovery::{
    InitiatorTextExchange, Portal, SendTargets, TargetRecord, TargetTextExchange, TextStep, parse_targets, target_keys,
};
use lunshadow_iscsi::pdu::{FINAL, Pdu, RESERVED_TAG, Tag, TextRequest, TextResponse};
use lunshadow_iscsi::text::{TextError, TextGather, TextKeys, TextPortions};
use lunshadow_scsi::LunAddress;
use proptest::prelude::*;

// RFC 7143 §6.1 MUST: every pair is ended by a zero byte.
#[test]
fn pairs_are_read_and_refused() {
    let keys = TextKeys::parse(b"A=1\0B.x-y+z@_=a=b\0\0C=\0").expect("sound");
    assert_eq!(keys.iter().collect::<Vec<_>>(), [("A", "1"), ("B.x-y+z@_", "a=b"), ("C", "")]);
    assert_eq!(keys.get("B"), None);
    assert_eq!(keys.get("a"), None, "case counts");
    assert_eq!(&keys.encode()[..], b"A=1\0B.x-y+z@_=a=b\0C=\0");
    assert_eq!(TextKeys::parse(b""), Ok(TextKeys::default()));

    let refused = |text: &[u8]| TextKeys::parse(text).expect_err("not sound");
    assert_eq!(refused(b"A=1"), TextError::Unterminated);
    assert_eq!(refused(b"A\0"), TextError::NoValue { pair: "A".to_owned() });
    assert_eq!(refused(b"=1\0"), TextError::BadKey { key: String::new() });
    assert_eq!(refused(b"1A=1\0"), TextError::BadKey { key: "1A".to_owned() });
    assert_eq!(refused(b"A b=1\0"), TextError::BadKey { key: "A b".to_owned() });
    assert_eq!(refused(b"A=\xff\0"), TextError::NotUtf8);
    let long = "k".repeat(64);
    assert_eq!(refused(format!("{long}=1\0").as_bytes()), TextError::BadKey { key: long });
    assert!(TextKeys::parse(format!("{}=1\0", "k".repeat(63)).as_bytes()).is_ok());
}

#[test]
fn a_negotiation_has_each_key_once() {
    let twice = TextKeys::parse(b"A=1\0B=2\0A=3\0").expect("sound as text");
    assert_eq!(twice.require_unique(), Err(TextError::Duplicate { key: "A".to_owned() }));
    assert_eq!(TextKeys::parse(b"A=1\0B=1\0").expect("sound").require_unique(), Ok(()));
}

#[test]
fn gathered_text_has_a_limit() {
    let mut gather = TextGather::new(8);
    assert_eq!(gather.push(b"A=12", true), Ok(None));
    assert_eq!(gather.push(b"345\0", false), TextKeys::parse(b"A=12345\0").map(Some));
    assert_eq!(gather.push(b"A=12", true), Ok(None));
    assert_eq!(gather.push(b"3456\0", false), Err(TextError::TooLong { limit_bytes: 8 }));
    assert_eq!(gather.push(b"B=2\0", false), TextKeys::parse(b"B=2\0").map(Some), "what was too long is forgotten");
}

// RFC 7143 §6.1 MUST: 8192 bytes of text are taken in one negotiation.
#[test]
fn a_negotiation_has_room_for_its_text() {
    let take = |bytes: usize| {
        let text = format!("A={:x<1$}\0", "", bytes - 3);
        let request = TextRequest { flags: FINAL, ..TextRequest::default() };
        TargetTextExchange::new(Tag::new(1), 512).handle(&request, text.as_bytes())
    };
    assert!(matches!(take(8192), Ok(TextStep::Asked(_))));
    assert_eq!(take(8193).expect_err("too long"), TextError::TooLong { limit_bytes: 8192 });
}

fn some_targets() -> Vec<TargetRecord> {
    let portal = |address: &str, group_tag| Portal { address: address.to_owned(), group_tag };
    vec![
        TargetRecord {
            name: "iqn.2026-11.org.example:one".to_owned(),
            portals: vec![portal("192.0.2.1:3260", 1), portal("[2001:db8::1]:3261", 2)],
        },
        TargetRecord { name: "iqn.2026-11.org.example:two".to_owned(), portals: vec![] },
    ]
}

// RFC 7143 §13.8 MUST: a TargetAddress that answers SendTargets has its portal group tag.
#[test]
fn targets_travel_as_text() {
    let keys = target_keys(&some_targets());
    let text = "TargetName=iqn.2026-11.org.example:one\0TargetAddress=192.0.2.1:3260,1\0\
                TargetAddress=[2001:db8::1]:3261,2\0TargetName=iqn.2026-11.org.example:two\0";
    assert_eq!(&keys.encode()[..], text.as_bytes());
    assert_eq!(parse_targets(&keys), some_targets());

    let terse = TextKeys::parse(
        b"TargetAddress=lost:1,1\0TargetName=iqn.a:b\0TargetAddress=host\0TargetAddress=[::1],7\0X=1\0",
    );
    let portals: Vec<_> = parse_targets(&terse.expect("sound")).remove(0).portals;
    let expected = [("host:3260", 1), ("[::1]:3260", 7)]
        .map(|(address, group_tag)| Portal { address: address.to_owned(), group_tag });
    assert_eq!(portals, expected);
}

#[test]
fn a_request_says_which_targets() {
    for asked in [SendTargets::All, SendTargets::Current, SendTargets::Named("iqn.a:b".to_owned())] {
        let keys = asked.to_keys();
        assert_eq!(SendTargets::parse(keys.get("SendTargets").expect("the key")), asked);
    }
}

/// Runs one exchange in responses of at most `bytes_max`; answers the text and the number of responses.
fn exchange(bytes_max: usize) -> (TextKeys, usize) {
    let (mut asking, mut request) =
        InitiatorTextExchange::start(Tag::new(3), SendTargets::All.to_keys().encode(), 8192);
    let mut answering = TargetTextExchange::new(Tag::new(77), bytes_max);
    for round in 1.. {
        let header = *request.bhs.view::<TextRequest>().expect("a text request");
        let response = match answering.handle(&header, &request.data).expect("sound") {
            TextStep::Respond(response) => response,
            TextStep::Asked(keys) => {
                assert_eq!(keys.get("SendTargets"), Some("All"));
                answering.answer(&header, &target_keys(&some_targets()))
            }
        };
        assert!(response.data.len() <= bytes_max);
        let header = response.bhs.view::<TextResponse>().expect("a text response");
        assert_eq!(header.itt, Tag::new(3));
        assert_eq!(header.ttt.is_reserved(), header.is_final());
        assert!(!(header.is_continued() && header.is_final()), "{header:?}");
        match asking.handle(header, &response.data).expect("sound") {
            Ok(keys) => return (keys, round),
            Err(follow_up) => {
                assert_eq!(follow_up.bhs.view::<TextRequest>().expect("a text request").ttt, answering.ttt());
                request = follow_up;
            }
        }
    }
    unreachable!("the loop has no end")
}

// RFC 7143 §11.11.1 MUST: a Text Response has the reserved Target Transfer Tag if it is the last, and another if it is not.
// RFC 7143 §11.11.2 MUST: a Text Response with the C bit has no F bit.
// RFC 7143 §11.11.6 MUST NOT: a Text Response is longer than the MaxRecvDataSegmentLength of the initiator.
#[test]
fn a_long_answer_takes_several_responses() {
    let text_bytes = target_keys(&some_targets()).encode().len();
    assert_eq!(exchange(8192), (target_keys(&some_targets()), 1));
    for bytes_max in [1, 7, 50, text_bytes - 1, text_bytes] {
        let (keys, rounds) = exchange(bytes_max);
        assert_eq!(parse_targets(&keys), some_targets());
        assert_eq!(rounds, text_bytes.div_ceil(bytes_max));
    }
}

// RFC 7143 §11.10.4 MUST: a Text Response with a Target Transfer Tag has the LUN that goes with it.
#[test]
fn a_tag_comes_with_its_lun() {
    let mut answering = TargetTextExchange::new(Tag::new(77), 512);
    let lun = LunAddress::peripheral(5);
    let request = TextRequest { flags: FINAL, lun, itt: Tag::new(1), ..TextRequest::default() };
    let keys: TextKeys = [("A", "x".repeat(600))].into_iter().collect();
    let first = answering.answer(&request, &keys);
    assert_eq!(first.bhs.view::<TextResponse>().map(|header| (header.ttt, header.lun)), Some((Tag::new(77), lun)));
    let step = answering.handle(&TextRequest { ttt: Tag::new(77), ..request }, &[]).expect("sound");
    let TextStep::Respond(last) = step else { panic!("{step:?} is no response") };
    let header = last.bhs.view::<TextResponse>().expect("a text response");
    assert_eq!((header.ttt.is_reserved(), header.lun), (true, LunAddress::peripheral(0)), "reserved");
}

// RFC 7143 §6.2 MUST: a request with the C bit is answered without data.
// RFC 7143 §6.4 MUST: a Text Response without the F bit has a Target Transfer Tag that is not reserved.
#[test]
fn a_request_in_several_pdus_is_acknowledged() {
    let mut answering = TargetTextExchange::new(Tag::new(77), 512);
    let first = TextRequest { flags: 0x40, itt: Tag::new(1), ..TextRequest::default() };
    let TextStep::Respond(response) = answering.handle(&first, b"SendTar").expect("sound") else {
        panic!("half a request was taken for a whole one");
    };
    let header = response.bhs.view::<TextResponse>().expect("a text response");
    assert!(!header.is_final() && !header.is_continued() && response.data.is_empty());
    assert_eq!(header.ttt, Tag::new(77));
    let last = TextRequest { flags: FINAL, itt: Tag::new(1), ttt: Tag::new(77), ..TextRequest::default() };
    let step = answering.handle(&last, b"gets=All\0").expect("sound");
    assert!(matches!(step, TextStep::Asked(keys) if keys.get("SendTargets") == Some("All")));
}

// RFC 7143 §6.4 MUST: a key that comes twice in a text exchange is rejected with the reason protocol error.
// RFC 7143 §6.4 MUST: a Text Response without the F bit has a Target Transfer Tag that is not reserved.
#[test]
fn an_exchange_goes_on_until_the_initiator_ends_it() {
    let mut answering = TargetTextExchange::new(Tag::new(77), 512);
    let part = |flags: u8, ttt: Tag| TextRequest { flags, itt: Tag::new(1), ttt, ..TextRequest::default() };
    let mut ask = |request: TextRequest, text: &[u8]| {
        let TextStep::Asked(keys) = answering.handle(&request, text)? else { panic!("the text is whole") };
        let response = answering.answer(&request, &keys);
        let header = *response.bhs.view::<TextResponse>().expect("a text response");
        assert_eq!(header.is_final(), answering.is_over());
        Ok((header.is_final(), header.ttt, response.data))
    };
    let (open, tag) = (part(0, Tag::default()), Tag::new(77));
    assert_eq!(ask(open, b"A=1\0"), Ok((false, tag, Bytes::from_static(b"A=1\0"))));
    assert_eq!(ask(part(0, tag), b"B=1\0"), Ok((false, tag, Bytes::from_static(b"B=1\0"))));
    assert_eq!(ask(part(FINAL, tag), b"A=2\0"), Err(TextError::Duplicate { key: "A".to_owned() }));
    assert_eq!(ask(part(FINAL, tag), b""), Ok((true, RESERVED_TAG, Bytes::new())));
}

proptest! {
    #[test]
    fn portions_and_gathering_undo_each_other(values in proptest::collection::vec("[a-zA-Z0-9,.:]{0,30}", 0..8), bytes_max in 1_usize..60) {
        let keys: TextKeys = values.iter().enumerate().map(|(i, value)| (format!("Key{i}"), value.as_str())).collect();
        let mut portions = TextPortions::new(keys.encode());
        let mut gather = TextGather::new(8192);
        loop {
            let (portion, more) = portions.next_portion(bytes_max);
            prop_assert!(portion.len() <= bytes_max);
            let gathered = gather.push(&portion, more).expect("within the limit");
            prop_assert_eq!(gathered.is_none(), more);
            if let Some(gathered) = gathered {
                prop_assert_eq!(gathered, keys);
                break;
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_are_pairs_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(keys) = TextKeys::parse(&bytes) {
            prop_assert_eq!(TextKeys::parse(&keys.encode()), Ok(keys.clone()));
            let _ = parse_targets(&keys);
        }
        let mut answering = TargetTextExchange::new(Tag::new(1), 512);
        let request = Pdu::new(TextRequest { flags: FINAL, ..TextRequest::default() }, Bytes::from(bytes.clone()));
        let header = *request.bhs.view::<TextRequest>().expect("a text request");
        let is_sound = TextKeys::parse(&bytes).is_ok_and(|keys| keys.require_unique().is_ok());
        prop_assert_eq!(answering.handle(&header, &request.data).is_ok(), is_sound);
    }
}
