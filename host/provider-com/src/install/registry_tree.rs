//! A key of the registry with all that is below it, to be written as a whole, removed, and put back.

use std::collections::BTreeMap;

use windows_core::HRESULT;
use windows_registry::{Key, LOCAL_MACHINE, Type, Value};

use super::{InstallError, Step};

/// `ERROR_FILE_NOT_FOUND` as a `HRESULT`.
const NOT_FOUND: HRESULT = HRESULT::from_win32(2);

/// A key's values and the keys below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyImage {
    /// By name; the default value has the empty name.
    pub values: BTreeMap<String, (Type, Vec<u8>)>,
    /// By name.
    pub keys: BTreeMap<String, KeyImage>,
}

impl KeyImage {
    /// With one more text.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        self.value(name, &Value::from(text))
    }

    /// With one more text that the system expands.
    #[must_use]
    pub fn expanded_text(self, name: &str, text: &str) -> Self {
        let mut value = Value::from(text);
        value.set_ty(Type::ExpandString);
        self.value(name, &value)
    }

    /// With one more number.
    #[must_use]
    pub fn number(self, name: &str, number: u32) -> Self {
        self.value(name, &Value::from(number))
    }

    /// With some more bytes.
    #[must_use]
    pub fn bytes(self, name: &str, bytes: &[u8]) -> Self {
        self.value(name, &Value::from(bytes))
    }

    /// With one more key below.
    #[must_use]
    pub fn key(mut self, name: &str, image: Self) -> Self {
        self.keys.insert(name.to_owned(), image);
        self
    }

    fn value(mut self, name: &str, value: &Value) -> Self {
        self.values.insert(name.to_owned(), (value.ty(), value.to_vec()));
        self
    }

    /// What is below `path` of HKEY_LOCAL_MACHINE; `None` if there is no such key.
    ///
    /// # Errors
    /// What the registry says.
    pub fn read(path: &str) -> windows_core::Result<Option<Self>> {
        match LOCAL_MACHINE.open(path) {
            Ok(key) => Self::of(&key).map(Some),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(key: &Key) -> windows_core::Result<Self> {
        let mut image = Self::default();
        for (name, value) in key.values()? {
            image.values.insert(name, (value.ty(), value.to_vec()));
        }
        for name in key.keys()? {
            let below = Self::of(&key.open(&name)?)?;
            image.keys.insert(name, below);
        }
        Ok(image)
    }

    fn write(&self, key: &Key) -> windows_core::Result<()> {
        for (name, (ty, bytes)) in &self.values {
            key.set_bytes(name, *ty, bytes)?;
        }
        for (name, image) in &self.keys {
            image.write(&key.create(name)?)?;
        }
        Ok(())
    }
}

/// Whether there is no such key or value.
fn is_missing(error: &windows_core::Error) -> bool {
    error.code() == NOT_FOUND
}

/// Makes a key what it is to be: `None` removes it.
pub(super) struct SetKey {
    what: &'static str,
    path: String,
    wanted: Option<KeyImage>,
    before: Option<KeyImage>,
    begun: bool,
}

impl SetKey {
    /// The key at `path` of HKEY_LOCAL_MACHINE, which is `what` to people.
    pub(super) fn new(what: &'static str, path: String, wanted: Option<KeyImage>) -> Self {
        Self { what, path, wanted, before: None, begun: false }
    }

    fn set(&self, image: Option<&KeyImage>) -> Result<(), InstallError> {
        let failed = |error| InstallError::of_system(format!(r"HKEY_LOCAL_MACHINE\{}", self.path), error);
        match LOCAL_MACHINE.remove_tree(&self.path) {
            Err(error) if !is_missing(&error) => return Err(failed(error)),
            _ => {}
        }
        let Some(image) = image else { return Ok(()) };
        LOCAL_MACHINE.create(&self.path).and_then(|key| image.write(&key)).map_err(failed)
    }
}

impl Step for SetKey {
    fn what(&self) -> String {
        let verb = if self.wanted.is_some() { "write" } else { "remove" };
        format!("{verb} {}", self.what)
    }

    fn apply(&mut self) -> Result<(), InstallError> {
        self.before = KeyImage::read(&self.path).map_err(|error| InstallError::of_system(&self.path, error))?;
        self.begun = true;
        self.set(self.wanted.as_ref())
    }

    fn undo(&mut self) -> Result<(), InstallError> {
        if self.begun { self.set(self.before.as_ref()) } else { Ok(()) }
    }
}
