//! The provider with the settings of the file: whoever calls it next after a change is served by the new ones.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use lunshadow_array_client::{HttpsArray, HttpsTimeouts, NamedArray, SeveralArrays};
use lunshadow_provider::{Clock, EventId, EventLog, Provider, ProviderConfig};
use lunshadow_vss::{HResult, Interceptor, Method, SnapshotState};
use parking_lot::Mutex;

use crate::config::{ArraySettings, Settings, SettingsError};

/// A provider for the arrays of a settings file. The file is looked at in the calls with which something begins, never while writers are frozen:
/// it may lie on a volume whose writes are held.
pub struct ConfiguredProvider {
    path: PathBuf,
    arrays: Arc<SeveralArrays>,
    provider: Provider,
    known: Mutex<Known>,
}

/// The calls with which something begins.
const BEGINNINGS: &[Method] = &[
    Method::AreLunsSupported,
    Method::FillInLunInfo,
    Method::BeginPrepareSnapshot,
    Method::LocateLuns,
    Method::OnLunEmpty,
    Method::OnLunStateChange,
    Method::ResyncLuns,
    Method::OnLoad,
];

/// What was read last.
#[derive(Default)]
struct Known {
    /// The whole file, good or bad.
    content: Option<Vec<u8>>,
    /// The last good settings, with the connections that they came to.
    arrays: Vec<(ArraySettings, HttpsTimeouts, NamedArray)>,
}

impl ConfiguredProvider {
    /// A provider for the settings at `path`, which need not be there yet.
    #[must_use]
    pub fn new(path: PathBuf, events: Arc<dyn EventLog>, clock: Arc<dyn Clock>) -> Self {
        let arrays = Arc::new(SeveralArrays::default());
        let array = Arc::<SeveralArrays>::clone(&arrays);
        let provider = Provider::new(array, events, clock, ProviderConfig::default());
        let provider = Self { path, arrays, provider, known: Mutex::default() };
        provider.refresh(Method::OnLoad);
        provider
    }

    /// The names of the arrays that are in use.
    #[must_use]
    pub fn array_names(&self) -> Vec<String> {
        self.arrays.each().into_iter().map(|array| array.name).collect()
    }

    fn refresh(&self, method: Method) {
        if self.is_frozen() {
            return;
        }
        let mut known = self.known.lock();
        let (content, settings) = match fs::read(&self.path) {
            Ok(content) => {
                let settings = parse(&content);
                (content, settings)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), Ok(Settings::default())),
            Err(source) => {
                let path = self.path.display().to_string();
                // What cannot be read has no content; whatever comes later differs from the reason.
                let content = source.to_string().into_bytes();
                (content, Err(SettingsError::Unreadable { path, source }))
            }
        };
        if known.content.as_ref() == Some(&content) {
            return;
        }
        known.content = Some(content);
        match settings {
            Ok(settings) => {
                self.provider.reconfigure(settings.limits.provider_config());
                if known.use_arrays(&settings) {
                    self.arrays.replace(known.arrays.iter().map(|(_, _, array)| array.clone()).collect());
                }
            }
            Err(error) => {
                let detail = format!("{}: {}", self.path.display(), with_causes(&error));
                self.provider.note(EventId::SettingsRefused, method, Some(detail));
            }
        }
    }

    /// Whether writers may be frozen right now.
    fn is_frozen(&self) -> bool {
        const FROZEN: [SnapshotState; 4] = [
            SnapshotState::PROCESSING_PRECOMMIT,
            SnapshotState::PRECOMMITTED,
            SnapshotState::PROCESSING_COMMIT,
            SnapshotState::COMMITTED,
        ];
        self.provider.current_set().is_some_and(|(_, state)| FROZEN.contains(&state))
    }
}

impl Known {
    /// Keeps the connections of arrays that stay as they are. Whether anything changed.
    fn use_arrays(&mut self, settings: &Settings) -> bool {
        let timeouts = settings.limits.timeouts();
        let arrays: Vec<_> = settings
            .arrays
            .iter()
            .map(|array| {
                let same = self.arrays.iter().find(|(known, with, _)| known == array && *with == timeouts);
                same.cloned().unwrap_or_else(|| (array.clone(), timeouts, connect(array, timeouts)))
            })
            .collect();
        let is_same = |(old, new): (&(_, _, NamedArray), &(_, _, NamedArray))| Arc::ptr_eq(&old.2.array, &new.2.array);
        let changed = arrays.len() != self.arrays.len() || !self.arrays.iter().zip(&arrays).all(is_same);
        self.arrays = arrays;
        changed
    }
}

/// The array of these settings. Nothing is sent before the first request.
#[must_use]
pub fn connect(array: &ArraySettings, timeouts: HttpsTimeouts) -> NamedArray {
    let client = HttpsArray::new(array.endpoint(), array.credential.clone(), timeouts);
    NamedArray { name: array.name.clone(), array: Arc::new(client) }
}

fn parse(content: &[u8]) -> Result<Settings, SettingsError> {
    let text = std::str::from_utf8(content).map_err(|error| {
        let before = &content[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        SettingsError::Malformed { line, message: "the text is not UTF-8".to_owned() }
    })?;
    Settings::parse(text)
}

/// An error with what caused it, in one line.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

impl Interceptor for ConfiguredProvider {
    type Provider = Provider;

    fn provider(&self) -> &Provider {
        &self.provider
    }

    fn around<T>(&self, method: Method, call: impl FnOnce() -> Result<T, HResult>) -> Result<T, HResult> {
        if BEGINNINGS.contains(&method) {
            self.refresh(method);
        }
        call()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lunshadow_control::{Fingerprint, Secret};
    use lunshadow_provider::Event;
    use lunshadow_vss::{Context, HardwareProvider as _};

    use super::*;
    use crate::config::store;

    #[derive(Default)]
    struct Spy(Mutex<Vec<Event>>);

    impl EventLog for Spy {
        fn record(&self, event: Event) {
            self.0.lock().push(event);
        }
    }

    fn settings(names: &[&str]) -> Settings {
        let array = |name: &&str| ArraySettings {
            name: (*name).to_owned(),
            address: "127.0.0.1:9".into(),
            fingerprint: Fingerprint([1; 32]),
            credential: Secret::new("s3cret"),
        };
        Settings { arrays: names.iter().map(array).collect(), ..Settings::default() }
    }

    /// A call that no array has to be asked for: it is about no LUN.
    fn ask(provider: &ConfiguredProvider) {
        let answer = provider.are_luns_supported(Context::CTX_BACKUP, &[], &mut []);
        assert_eq!(answer, Err(HResult::E_INVALIDARG));
    }

    #[test]
    fn the_next_call_after_a_change_is_served_by_the_new_settings() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("provider.toml");
        let spy = Arc::new(Spy::default());
        let provider = ConfiguredProvider::new(path.clone(), spy.clone(), Arc::new(|| Duration::ZERO));
        assert_eq!(provider.array_names(), [""; 0]);

        store(&path, &settings(&["one", "two"])).expect("it is writable");
        ask(&provider);
        assert_eq!(provider.array_names(), ["one", "two"]);
        let kept = provider.arrays.each();

        store(&path, &settings(&["two"])).expect("it is writable");
        ask(&provider);
        assert_eq!(provider.array_names(), ["two"]);
        assert!(Arc::ptr_eq(&provider.arrays.each()[0].array, &kept[1].array), "its connections are kept");

        fs::remove_file(&path).expect("it is there");
        ask(&provider);
        assert_eq!(provider.array_names(), [""; 0]);
        assert_eq!(*spy.0.lock(), []);
    }

    #[test]
    fn bad_settings_are_told_of_once_and_the_good_ones_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("provider.toml");
        store(&path, &settings(&["one"])).expect("it is writable");
        let spy = Arc::new(Spy::default());
        let provider = ConfiguredProvider::new(path.clone(), spy.clone(), Arc::new(|| Duration::ZERO));

        fs::write(&path, "[[array]]\ncredential = \"s3cret").expect("it is writable");
        ask(&provider);
        ask(&provider);
        assert_eq!(provider.array_names(), ["one"]);
        let events = std::mem::take(&mut *spy.0.lock());
        assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [EventId::SettingsRefused]);
        assert!(events[0].text.contains("line 2") && !events[0].text.contains("s3cret"), "{}", events[0].text);

        store(&path, &settings(&["two"])).expect("it is writable");
        ask(&provider);
        assert_eq!(provider.array_names(), ["two"]);
        assert_eq!(*spy.0.lock(), []);
    }
}
