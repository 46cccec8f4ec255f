//! VSS across COM, for both ends: the provider's shells and whoever drives a provider.
