//! The whole system: the real array on Linux, a simulated Windows host under Wine, and the product between them.
//!
//! ```text
//!  test ──▶ Host: coordinator ──▶ RemoteProvider ═ COM ═▶ lunshadow-provider.exe ═ TLS ═▶ lunshadow serve
//!             └── simulated Windows ════════════════ iSCSI over TCP ═══════════════════▶      ▲
//!  test ──▶ ArraySide ═ loopback ═▶ cargo xtask windows ──────── starts, kills, commands ─────┘
//! ```

mod array_side;
mod figures;
mod filling;
mod hooked;
mod host;
mod product;
mod stage;

pub use array_side::{ADDRESS, ArraySide, SMALL_ADDRESS, iqn_of, new_name};
pub use figures::{Figure, measure};
pub use filling::{drain, fill};
pub use hooked::{Hook, Hooked, When};
pub use host::{Host, RECORD_AT_BYTES, SAMPLE_MEBIBYTES};
pub use product::{Activation, Identity, Product, built, end_servers, provider_id, servers};
pub use stage::{PERSISTENT, Stage, settings, shadow_of};
