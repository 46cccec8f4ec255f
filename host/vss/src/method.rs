//! The methods of a hardware provider and the codes that each may answer.

use std::fmt;

use crate::HResult;

/// Defines the methods together with the codes of their pages, so that no method can be without.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $codes:expr;)*) => {
        /// A method of a provider's COM interfaces, named as there.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Method {
            $($(#[$doc])* $name,)*
        }

        impl Method {
            /// All methods.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The method's name in the interface.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }

        /// The codes that a method may answer: those of its own page, and [`HResult::E_ACCESSDENIED`] for a caller without privileges.
        #[must_use]
        pub const fn legal_codes(method: Method) -> &'static [HResult] {
            match method {
                $(Method::$name => $codes,)*
            }
        }
    };
}

/// A list of codes that begins with those of every page.
macro_rules! common_and {
    ($($code:ident),*) => {
        &[HResult::S_OK, HResult::E_OUTOFMEMORY, HResult::E_INVALIDARG, HResult::E_ACCESSDENIED, $(HResult::$code),*]
    };
}

methods! {
    /// Section 2.2.1.
    AreLunsSupported: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.2.5. VSS has ignored the code since 2008.
    FillInLunInfo: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.2.2.
    BeginPrepareSnapshot: common_and![
        VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED, VSS_E_NESTED_VOLUME_LIMIT, VSS_E_PROVIDER_VETO,
        VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_UNSUPPORTED_CONTEXT
    ];
    /// Section 2.2.3.
    GetTargetLuns: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.2.4.
    LocateLuns: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.2.6.
    OnLunEmpty: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.1.1.
    EndPrepareSnapshots: common_and![VSS_E_INSUFFICIENT_STORAGE, VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO];
    /// Section 2.1.2.
    PreCommitSnapshots: common_and![VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO];
    /// Section 2.1.3.
    CommitSnapshots: common_and![VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO];
    /// Section 2.1.4.
    PostCommitSnapshots: common_and![VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO];
    /// Section 2.1.5.
    PreFinalCommitSnapshots: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.1.6.
    PostFinalCommitSnapshots: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.1.7.
    AbortSnapshots: common_and![VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO];
    /// Section 2.3.1: reserved.
    GetProviderCapabilities: &[HResult::S_OK, HResult::E_NOTIMPL, HResult::E_ACCESSDENIED];
    /// Section 2.3.2.
    OnLunStateChange: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.3.3. Its page does not have `E_INVALIDARG`.
    ResyncLuns: &[
        HResult::S_OK, HResult::E_OUTOFMEMORY, HResult::E_ACCESSDENIED, HResult::VSS_E_PROVIDER_VETO,
        HResult::VSS_E_INSUFFICIENT_STORAGE
    ];
    /// Section 2.3.4: reserved.
    OnReuseLuns: &[HResult::S_OK, HResult::E_NOTIMPL, HResult::E_ACCESSDENIED];
    /// Section 2.4.
    OnLoad: common_and![VSS_E_PROVIDER_VETO];
    /// Section 2.4. `S_FALSE` asks to stay loaded, and is legal only when the unloading is not forced.
    OnUnload: &[HResult::S_OK, HResult::S_FALSE, HResult::E_ACCESSDENIED];
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether a method may answer a code.
#[must_use]
pub fn is_legal(method: Method, code: HResult) -> bool {
    legal_codes(method).contains(&code)
}

/// What VSS makes of a provider's answer (section 2.0.3): a code that is not legal for the method, failure or success, becomes
/// [`HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR`], except from `AbortSnapshots` and `OnUnload`, where nobody is left to be told.
#[must_use]
pub fn translate(method: Method, code: HResult) -> HResult {
    let untranslated = matches!(method, Method::AbortSnapshots | Method::OnUnload);
    if untranslated || is_legal(method, code) { code } else { HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_named_as_illegal_are_illegal() {
        for &method in Method::ALL {
            for code in [HResult::E_FAIL, HResult::E_UNEXPECTED, HResult::E_ABORT, HResult::VSS_E_BAD_STATE] {
                assert!(!is_legal(method, code), "{method}: {code}");
            }
            assert_eq!(is_legal(method, HResult::S_FALSE), method == Method::OnUnload, "{method}");
            assert!(is_legal(method, HResult::S_OK), "{method}");
            assert!(is_legal(method, HResult::E_ACCESSDENIED), "{method}");
        }
    }

    #[test]
    fn codes_of_one_page_are_not_legal_elsewhere() {
        let legal_for = |code| Method::ALL.iter().copied().filter(|&method| is_legal(method, code)).collect::<Vec<_>>();
        assert_eq!(legal_for(HResult::VSS_E_UNSUPPORTED_CONTEXT), [Method::BeginPrepareSnapshot]);
        assert_eq!(legal_for(HResult::VSS_E_INSUFFICIENT_STORAGE), [Method::EndPrepareSnapshots, Method::ResyncLuns]);
        assert_eq!(
            legal_for(HResult::VSS_E_OBJECT_NOT_FOUND),
            [
                Method::EndPrepareSnapshots,
                Method::PreCommitSnapshots,
                Method::CommitSnapshots,
                Method::PostCommitSnapshots,
                Method::AbortSnapshots
            ]
        );
        assert_eq!(legal_for(HResult::E_NOTIMPL), [Method::GetProviderCapabilities, Method::OnReuseLuns]);
    }

    #[test]
    fn illegal_answers_are_translated_but_for_two_methods() {
        let unexpected = HResult::VSS_E_UNEXPECTED_PROVIDER_ERROR;
        assert_eq!(translate(Method::CommitSnapshots, HResult::E_FAIL), unexpected);
        assert_eq!(translate(Method::AreLunsSupported, HResult::S_FALSE), unexpected);
        assert_eq!(translate(Method::LocateLuns, HResult::VSS_E_OBJECT_NOT_FOUND), unexpected);
        assert_eq!(translate(Method::AbortSnapshots, HResult::E_FAIL), HResult::E_FAIL);
        assert_eq!(translate(Method::OnUnload, HResult::E_UNEXPECTED), HResult::E_UNEXPECTED);
        for &method in Method::ALL {
            for &code in legal_codes(method) {
                assert_eq!(translate(method, code), code, "{method}");
            }
        }
    }
}
