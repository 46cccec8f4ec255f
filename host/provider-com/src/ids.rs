//! Who the provider is to Windows: ids that were made once and stay for the product's life, and the one that each build has anew.

use uuid::{Uuid, uuid};

/// The provider to VSS (`ProviderId` of `IVssAdmin::RegisterProvider`).
pub const PROVIDER_ID: Uuid = lunshadow_provider::PROVIDER_ID.0;

/// Its COM class.
pub const CLASS_ID: Uuid = uuid!("88cb7c5d-5166-4968-82c5-db12ae552a1d");

/// The COM application that the class belongs to.
pub const APP_ID: Uuid = uuid!("178b48e0-5d8f-4856-976e-37702cc7a3b1");

/// The Windows service.
pub const SERVICE_NAME: &str = "LunshadowProvider";

/// The provider's name in `vssadmin list providers`, and the service's in the list of services.
pub const DISPLAY_NAME: &str = "Lunshadow VSS Hardware Provider";

/// The source of its events in the Application log.
pub const EVENT_SOURCE: &str = "Lunshadow";

/// The version as people read it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version as VSS tells builds apart (`ProviderVersionId`): made from the version and from the sources that the program is built from.
#[must_use]
pub const fn version_id() -> Uuid {
    match Uuid::try_parse(env!("LUNSHADOW_VERSION_ID")) {
        Ok(id) => id,
        Err(_) => Uuid::nil(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_006_each_build_has_a_version_id_of_its_own() {
        assert_eq!(version_id().get_version_num(), 5, "{}", version_id());
        assert!(![PROVIDER_ID, CLASS_ID, APP_ID].contains(&version_id()));
    }
}
