//! Run ids: UUIDs, ordered by time, unique, with routing bits that children keep.

use std::collections::HashSet;

use in_mem_model::{Namespace, RunId, Timestamp};
use proptest::prelude::*;

proptest! {
    #[test]
    fn ids_are_uuids_of_version_7(millis in 0_i64..1 << 48, entropy in any::<[u8; 10]>()) {
        let id = RunId::new(Timestamp::from_millis(millis), entropy);
        let uuid = uuid::Uuid::from_bytes(*id.as_bytes());
        prop_assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        prop_assert_eq!(id.timestamp(), Some(Timestamp::from_millis(millis)));
        prop_assert_eq!(id.routing(), u16::from_be_bytes([entropy[8], entropy[9]]));
        prop_assert_eq!(id.to_string(), uuid.to_string());
    }

    #[test]
    fn all_128_bits_come_back_from_every_form(bytes in any::<[u8; 16]>()) {
        let id = RunId::from_bytes(bytes);
        let text = id.to_string();
        for form in [
            text.clone(), text.to_uppercase(), text.replace('-', ""), format!("urn:uuid:{text}"), format!("{{{text}}}"),
        ] {
            prop_assert_eq!(form.parse(), Ok(id));
        }
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(&json, &format!("\"{text}\""));
        prop_assert_eq!(serde_json::from_str::<RunId>(&json).unwrap(), id);
    }

    #[test]
    fn children_keep_their_parents_routing(parent in any::<[u8; 16]>(), entropy in any::<[u8; 10]>()) {
        let parent = RunId::from_bytes(parent);
        let now = Timestamp(1_700_000_000_000_000);
        prop_assert_eq!(RunId::child_of(parent, now, entropy).routing(), parent.routing());
        let child = RunId::generate_child(parent, now);
        prop_assert_eq!((child.routing(), child.timestamp()), (parent.routing(), Some(now)));
        prop_assert_eq!(child.with_routing(7).routing(), 7);
    }

    #[test]
    fn text_that_is_no_uuid_is_an_error(text in "\\PC{0,50}") {
        if let Ok(id) = text.parse::<RunId>() {
            prop_assert_eq!(text.to_lowercase().replace(['-', '{', '}'], "").replace("urn:uuid:", ""),
                id.to_string().replace('-', ""));
        }
    }
}

#[test]
fn generated_ids_increase_within_a_millisecond_and_across() {
    let start = Timestamp::from_millis(1_700_000_000_000).0;
    let ids: Vec<_> = (0..100_000).map(|n| RunId::generate(Timestamp(start + n / 50))).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
}

#[test]
fn children_increase_and_differ_though_their_routing_is_the_same() {
    let parent = RunId::generate(Timestamp(0));
    let ids: Vec<_> = (0..10_000).map(|_| RunId::generate_child(parent, Timestamp(5))).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
}

#[test]
fn threads_do_not_collide() {
    let now = Timestamp::from_millis(1_700_000_000_000);
    let make = move || (0..20_000).map(|_| RunId::generate(now)).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(make)).collect();
    let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ids.len(), 80_000);
}

#[test]
fn an_id_for_a_past_time_says_that_time() {
    let _ = RunId::generate(Timestamp::from_millis(1_700_000_000_000));
    let past = Timestamp::from_millis(1_000_000_000_000);
    assert_eq!(RunId::generate(past).timestamp(), Some(past));
    assert_eq!(RunId::new(Timestamp(-1), [0; 10]).timestamp(), Some(Timestamp::EPOCH));
    assert_eq!(RunId::new(Timestamp::MAX, [0; 10]).timestamp(), Some(Timestamp::from_millis((1 << 48) - 1)));
    let v4: RunId = "67e55044-10b1-426f-9247-bb680e5fe0c8".parse().unwrap();
    assert_eq!((v4.timestamp(), v4.routing()), (None, 0xe0c8));
}

#[test]
fn routing_spreads() {
    let seen: HashSet<_> = (0..1_000).map(|_| RunId::generate(Timestamp(0)).routing() % 16).collect();
    assert_eq!(seen.len(), 16);
}

#[test]
fn a_namespace_has_one_id_which_is_part_of_the_file_format() {
    let space = |text: &str| RunId::for_namespace(&text.parse::<Namespace>().unwrap());
    assert_eq!(space("a/b/c"), space("a/b/c"));
    assert_ne!(space("ab/c/d"), space("a/bc/d"));
    assert_eq!(space("a/b/c").timestamp(), None);
    assert_eq!(uuid::Uuid::from_bytes(*space("a/b/c").as_bytes()).get_version_num(), 8);
    assert_eq!(space("default").to_string(), "6be34f2d-4396-8dd8-b5c7-2c714ec1c1fe");
}

#[test]
fn errors_show_the_text_and_what_is_wrong() {
    let error = "not-a-run".parse::<RunId>().unwrap_err().to_string();
    assert!(error.contains("\"not-a-run\"") && error.contains("UUID"), "{error}");
    assert!("x".repeat(1 << 20).parse::<RunId>().unwrap_err().to_string().len() < 500);
    assert!(serde_json::from_str::<RunId>("\"zzz\"").is_err());
}
