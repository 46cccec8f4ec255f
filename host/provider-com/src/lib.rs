//! The Windows program around the provider: COM shells, class factory, registration, service, event log. No decisions.
