//! Namespaces.

use in_mem_model::{Namespace, NamespaceError};

#[test]
fn parts_left_out_are_default() {
    let read = |text: &str| text.parse::<Namespace>().map(|space| space.to_string());
    assert_eq!(read("bot").unwrap(), "default/default/bot");
    assert_eq!(read("shop/bot").unwrap(), "default/shop/bot");
    assert_eq!(read("acme/shop/bot").unwrap(), "acme/shop/bot");
    assert_eq!(Namespace::default().to_string(), "default/default/default");
    assert_eq!(Namespace::for_agent("bot").unwrap(), "bot".parse().unwrap());
}

#[test]
fn parts_that_would_read_back_differently_are_refused() {
    assert_eq!("".parse::<Namespace>(), Err(NamespaceError::Empty { part: "agent" }));
    assert_eq!("a//b".parse::<Namespace>(), Err(NamespaceError::Empty { part: "app" }));
    assert!(matches!("a/b/c/d".parse::<Namespace>(), Err(NamespaceError::TooManyParts { .. })));
    let slash = Namespace::new("a/b", "c", "d");
    assert_eq!(slash, Err(NamespaceError::Character { part: "tenant", found: '/' }));
    assert!(Namespace::for_agent("line\nbreak").is_err());
}

#[test]
fn reading_json_checks_the_same() {
    let space = Namespace::new("acme", "shop", "bot").unwrap();
    let json = r#"{"tenant":"acme","app":"shop","agent":"bot"}"#;
    assert_eq!(serde_json::to_string(&space).unwrap(), json);
    assert_eq!(serde_json::from_str::<Namespace>(json).unwrap(), space);
    assert_eq!(serde_json::from_str::<Namespace>("{}").unwrap(), Namespace::default());
    assert!(serde_json::from_str::<Namespace>(r#"{"agent":""}"#).is_err());
}
