//! The OpenAPI document in `docs/` is the one that the types make.

use std::collections::BTreeSet;
use std::path::Path;

use lunshadow_control::operations::{Operation, openapi_json};
use serde_json::Value;

/// Set to write the document instead of comparing it.
const UPDATE: &str = "LUNSHADOW_UPDATE_OPENAPI";

#[test]
fn the_document_in_the_tree_is_the_one_that_the_types_make() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = openapi_json();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &made).expect("docs can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let command = format!("{UPDATE}=1 cargo test --package lunshadow-control --test openapi");
    assert!(found == made, "docs/openapi.json is stale; renew it with: {command}");
}

#[test]
fn every_reference_in_the_document_has_its_schema_and_every_schema_a_reference() {
    let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let schemas: BTreeSet<String> = schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(references, schemas);
}

#[test]
fn operations_have_paths_of_their_own() {
    let places: BTreeSet<_> =
        Operation::ALL.iter().map(|operation| (operation.path(), format!("{:?}", operation.method()))).collect();
    assert_eq!(places.len(), Operation::ALL.len());
    let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let described: usize = paths.values().filter_map(Value::as_object).map(serde_json::Map::len).sum();
    assert_eq!(described, Operation::ALL.len());
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str().filter(|_| name == "$ref") {
                    Some(reference) => drop(references.insert(reference.to_owned())),
                    None => collect(value, references),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, references)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
