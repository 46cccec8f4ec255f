//! The target's side of a login.

use std::collections::HashSet;
use std::num::NonZeroU16;

use zerocopy::byteorder::big_endian::U16;

use super::chap::{self, ChapAlgorithm, ChapChallenge, ChapCredential, ChapError};
use super::{
    LoginIdentity, LoginStatus, NAME_BYTES_MAX, NegotiatedSession, SessionKind, TARGET_KEYS, key, method, stage_bits,
    stages_of,
};
use crate::discovery::SEND_TARGETS;
use crate::negotiation::{DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH, Negotiation, Preferences, Role};
use crate::pdu::{CONTINUE, FINAL, LoginRequest, LoginResponse, Opcode, Pdu, Stage};
use crate::serial::SerialNumber;
use crate::text::{TEXT_BYTES_MAX, TextGather, TextKeys, TextPortions, parse_list};

/// Requests that one login may take; an initiator that needs more never ends.
const REQUESTS_MAX: u32 = 64;
/// Bytes of text in one response: what an initiator takes that has declared nothing.
const RESPONSE_TEXT_BYTES_MAX: usize = DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize;

/// How a target logs initiators in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetLoginConfig {
    /// What the target would like to agree on.
    pub preferences: Preferences,
    /// Commands that the initiator may send ahead, granted in every login response. At least 2, because some initiators
    /// refuse a login that grants no more than one.
    pub command_window: u32,
    /// The StatSN of the first response.
    pub first_stat_sn: SerialNumber,
}

/// The target's side of one login. Feed it each PDU until it is complete or refused:
///
/// ```text
/// Pdu ──handle──▶ Send ──▶ (next Pdu)
///            └──▶ Admit ──admit or refuse──▶ Send | Complete | Refused
///            └──▶ Complete ──▶ full feature phase
///            └──▶ Refused ──▶ send, then close the connection
/// ```
///
/// The caller decides by name whom it admits, and how whoever has that name has to prove it.
#[derive(Clone, Debug)]
pub struct TargetLogin {
    config: TargetLoginConfig,
    stage: Stage,
    /// The header of the first request, whose identity fields the others repeat.
    first: Option<LoginRequest>,
    requests: u32,
    stat_sn: SerialNumber,
    gather: TextGather,
    portions: TextPortions,
    session: Option<Admitted>,
    /// The first request's identity and keys, while the caller decides.
    asking: Option<(LoginIdentity, TextKeys, LoginRequest)>,
}

/// What a login knows once the caller has let the initiator in.
#[derive(Clone, Debug)]
struct Admitted {
    identity: LoginIdentity,
    admission: Admission,
    negotiation: Negotiation,
    announced: bool,
    /// Keys by which the initiator has said who it is.
    declared: HashSet<String>,
    proof: Proof,
}

/// How far the initiator is with proving who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// It has not offered its methods.
    Method,
    /// It is to offer its algorithms.
    Algorithm,
    /// It has been sent a challenge.
    Response(ChapAlgorithm),
    /// Nothing more is wanted.
    Given,
}

/// The caller's word that an initiator may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The number of the new session, unique among the sessions of this initiator name and ISID at least.
    pub tsih: NonZeroU16,
    /// The portal group that the connection came in through.
    pub portal_group_tag: u16,
    /// The target's own words about itself.
    pub target_alias: Option<String>,
    /// What the initiator has to prove before it is let in.
    pub authentication: Authentication,
}

/// What an initiator has to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    None,
    /// That it knows its secret.
    Chap {
        /// The name and the secret that the initiator must have.
        initiator: ChapCredential,
        /// What this target proves itself with, to an initiator that asks for it. It should not have the initiator's secret.
        target: Option<ChapCredential>,
        /// For this login only.
        challenge: ChapChallenge,
    },
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum TargetStep {
    /// Send this and wait for the next request.
    Send(Pdu),
    /// Decide about this initiator and call [`TargetLogin::admit`] or [`TargetLogin::refuse`]. An identity with a `tsih`
    /// other than 0 wants to join an existing session; with one connection per session that is refused, with
    /// `TOO_MANY_CONNECTIONS` if the session exists, else with `SESSION_DOES_NOT_EXIST`. A new session with the initiator name, ISID
    /// and target of an existing one takes its place (RFC 7143 6.3.5): end the old one once this one is complete.
    Admit(LoginIdentity),
    /// Send this; the session is in its full feature phase.
    Complete {
        /// The last response.
        response: Pdu,
        /// What was agreed.
        session: Box<NegotiatedSession>,
    },
    /// Send this and close the connection.
    Refused {
        /// The response with the status.
        response: Pdu,
        /// The status.
        status: LoginStatus,
    },
}

/// A connection that does not begin with a Login Request: close it without an answer (RFC 7143 6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a connection began with {opcode:?} instead of a login request")]
pub struct OutOfLogin {
    /// What came.
    pub opcode: Opcode,
}

impl TargetLogin {
    /// Waits for the first request.
    #[must_use]
    pub fn new(config: TargetLoginConfig) -> Self {
        Self {
            stage: Stage::SECURITY,
            first: None,
            requests: 0,
            stat_sn: config.first_stat_sn,
            gather: TextGather::new(TEXT_BYTES_MAX),
            portions: TextPortions::default(),
            session: None,
            asking: None,
            config,
        }
    }

    /// Takes the initiator's next PDU.
    ///
    /// # Errors
    /// [`OutOfLogin`] if there is no login to answer to.
    // RFC 7143 §4.2.4 MUST: a connection that does not begin with a Login Request is closed at once.
    // RFC 7143 §4.2.4 MUST: anything but a Login Request during the login is refused with the status for it, and the connection is closed.
    pub fn handle(&mut self, pdu: &Pdu) -> Result<TargetStep, OutOfLogin> {
        let Some(&request) = pdu.bhs.view::<LoginRequest>() else {
            return match self.first {
                Some(first) => Ok(self.refusal(&first, LoginStatus::INVALID_DURING_LOGIN)),
                None => Err(OutOfLogin { opcode: pdu.bhs.opcode() }),
            };
        };
        Ok(self.request(&request, &pdu.data).unwrap_or_else(|status| self.refusal(&request, status)))
    }

    /// Lets the initiator in that [`TargetStep::Admit`] asked about.
    ///
    /// # Panics
    /// If nothing was asked.
    pub fn admit(&mut self, admission: Admission) -> TargetStep {
        let (identity, keys, request) = self.asking.take().expect("an admission answers a question");
        let discovery = identity.kind == SessionKind::Discovery;
        let negotiation = Negotiation::new(Role::Target, discovery, self.config.preferences.clone());
        let proof = match admission.authentication {
            Authentication::None => Proof::Given,
            Authentication::Chap { .. } => Proof::Method,
        };
        let declared = HashSet::new();
        self.session = Some(Admitted { identity, admission, negotiation, announced: false, declared, proof });
        self.negotiate(&request, &keys).unwrap_or_else(|status| self.refusal(&request, status))
    }

    /// Turns the initiator away that [`TargetStep::Admit`] asked about.
    ///
    /// # Panics
    /// If nothing was asked.
    pub fn refuse(&mut self, status: LoginStatus) -> TargetStep {
        let (_, _, request) = self.asking.take().expect("a refusal answers a question");
        self.refusal(&request, status)
    }

    /// What to send instead of the `response` of a [`TargetStep::Complete`] if the target finds only now that it cannot have the session.
    ///
    /// # Panics
    /// If it is no login response.
    #[must_use]
    pub fn withdrawal(response: &Pdu, status: LoginStatus) -> Pdu {
        let response = *response.bhs.view::<LoginResponse>().expect("a login ends with a login response");
        let (current, _) = stages_of(response.flags);
        Pdu::bare(LoginResponse { flags: stage_bits(current, Stage(0)), status, ..response })
    }

    fn request(&mut self, request: &LoginRequest, text: &[u8]) -> Result<TargetStep, LoginStatus> {
        self.check_header(request)?;
        if !self.portions.is_empty() {
            // The last response had its C bit set: this request only asks for the rest (RFC 7143 6.2).
            if !text.is_empty() || request.flags & CONTINUE != 0 {
                return Err(LoginStatus::INITIATOR_ERROR);
            }
            return Ok(self.respond(request));
        }
        let continued = request.flags & CONTINUE != 0;
        // RFC 7143 §6.2 MUST: a request with the C bit is answered without data.
        let Some(keys) = self.gather.push(text, continued).map_err(|_| LoginStatus::INITIATOR_ERROR)? else {
            return Ok(TargetStep::Send(self.response(request, 0, TextPortions::default())));
        };
        keys.require_unique().map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        if self.session.is_some() {
            return self.negotiate(request, &keys);
        }
        let identity = identify(request, &keys)?;
        self.asking = Some((identity.clone(), keys, *request));
        Ok(TargetStep::Admit(identity))
    }

    /// RFC 7143 11.12.1 to 11.12.9: what the header of a request may say in this place.
    fn check_header(&mut self, request: &LoginRequest) -> Result<(), LoginStatus> {
        self.requests += 1;
        if request.version_min > 0 {
            return Err(LoginStatus::UNSUPPORTED_VERSION);
        }
        let (current, next) = stages_of(request.flags);
        let first = *self.first.get_or_insert_with(|| {
            self.stage = current;
            *request
        });
        let same_login =
            (first.itt, first.isid, first.tsih, first.cid) == (request.itt, request.isid, request.tsih, request.cid);
        let wants_transit = request.flags & FINAL != 0;
        let transit_is_sound = !wants_transit
            || request.flags & CONTINUE == 0
                && matches!(
                    (current, next),
                    (Stage::SECURITY, Stage::OPERATIONAL | Stage::FULL_FEATURE)
                        | (Stage::OPERATIONAL, Stage::FULL_FEATURE)
                );
        let stage_is_sound = current == self.stage && matches!(current, Stage::SECURITY | Stage::OPERATIONAL);
        let idle = self.asking.is_none() && self.stage != Stage::FULL_FEATURE;
        if same_login && transit_is_sound && stage_is_sound && idle && self.requests <= REQUESTS_MAX {
            Ok(())
        } else {
            Err(LoginStatus::INITIATOR_ERROR)
        }
    }

    /// Answers the keys of a request that is complete.
    fn negotiate(&mut self, request: &LoginRequest, keys: &TextKeys) -> Result<TargetStep, LoginStatus> {
        let stage = self.stage;
        let admitted = self.session.as_mut().ok_or(LoginStatus::TARGET_ERROR)?;
        let mut answers = TextKeys::default();
        let is_first = !std::mem::replace(&mut admitted.announced, true);
        if is_first {
            // RFC 7143 §6.3.1 MUST: the first Login Response after a whole text has the TargetPortalGroupTag, in sessions of both kinds.
            answers.push(key::TARGET_PORTAL_GROUP_TAG, admitted.admission.portal_group_tag.to_string());
            if let (SessionKind::Normal, Some(alias)) = (admitted.identity.kind, &admitted.admission.target_alias) {
                answers.push(key::TARGET_ALIAS, alias);
            }
        }
        admitted.declare(is_first, keys)?;
        admitted.authenticate(stage, keys, &mut answers)?;
        // RFC 7143 §7.12 MUST: a negotiation that fails during the login ends it with a status, and the connection with it.
        let operational = keys.iter().filter(|&(name, _)| !is_security_key(name) && !is_identity_key(name));
        let settled = admitted.negotiation.take(operational).map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        if stage == Stage::OPERATIONAL
            && let Some((name, value)) = admitted.negotiation.length_declaration()
        {
            answers.push(name, value);
        }
        for (name, value) in settled.iter() {
            answers.push(name, value);
        }
        self.portions = TextPortions::new(answers.encode());
        Ok(self.respond(request))
    }

    /// Sends what fits of the answers; follows the initiator into the next stage once all of them are out.
    fn respond(&mut self, request: &LoginRequest) -> TargetStep {
        // An initiator may ask for the next stage before it has proved itself; it stays in this one then (RFC 7143 6.3.2).
        let proved = self.session.as_ref().is_some_and(|admitted| admitted.proof == Proof::Given);
        // RFC 7143 §11.13.7 MUST: a Login Response with the C bit has no T bit.
        // RFC 7143 §11.13.6 MUST NOT: a Login Response has the T bit if its request has not.
        let transits = proved && request.flags & FINAL != 0 && {
            let mut probe = self.portions.clone();
            !probe.next_portion(RESPONSE_TEXT_BYTES_MAX).1
        };
        let (_, next) = stages_of(request.flags);
        // RFC 7143 §6.3 MUST NOT: a Login Response goes to a later stage than the request asks for.
        // RFC 7143 §6.3 MUST: the last request and the last response of a login name the full feature phase as the next stage.
        let transit_flags = if transits { FINAL | next.0 } else { 0 };
        let portions = std::mem::take(&mut self.portions);
        let response = self.response(request, transit_flags, portions);
        if transits {
            self.stage = next;
        }
        match &self.session {
            Some(admitted) if self.stage == Stage::FULL_FEATURE => {
                let session = NegotiatedSession {
                    identity: LoginIdentity { tsih: admitted.admission.tsih.get(), ..admitted.identity.clone() },
                    parameters: admitted.negotiation.agreed(),
                    first_cmd_sn: self.exp_cmd_sn(),
                    max_cmd_sn: self.max_cmd_sn(),
                    next_stat_sn: self.stat_sn,
                };
                TargetStep::Complete { response, session: Box::new(session) }
            }
            _ => TargetStep::Send(response),
        }
    }

    /// A response to `request` with the next portion of `portions`, what is left of which is kept for the next one.
    fn response(&mut self, request: &LoginRequest, transit_flags: u8, mut portions: TextPortions) -> Pdu {
        let (text, more) = portions.next_portion(RESPONSE_TEXT_BYTES_MAX);
        self.portions = portions;
        let (current, next) = stages_of(request.flags);
        let done = transit_flags & FINAL != 0 && next == Stage::FULL_FEATURE;
        // RFC 7143 §11.13.3 MUST: the last Login Response of a new session has a TSIH that is not 0, and no other has it.
        let tsih = match &self.session {
            Some(admitted) if done => U16::new(admitted.admission.tsih.get()),
            _ => request.tsih,
        };
        let continued = if more { CONTINUE } else { 0 };
        // RFC 7143 §11.13.2 MUST: all Login Responses of a login have the same Version-active.
        let header = LoginResponse {
            flags: transit_flags | continued | stage_bits(current, Stage(0)),
            isid: request.isid,
            tsih,
            itt: request.itt,
            stat_sn: self.stat_sn.take().into(),
            exp_cmd_sn: self.exp_cmd_sn().into(),
            max_cmd_sn: self.max_cmd_sn().into(),
            status: LoginStatus::SUCCESS,
            ..LoginResponse::default()
        };
        Pdu::new(header, text)
    }

    // RFC 7143 §11.13.5 MUST: a connection whose login is refused is closed.
    fn refusal(&mut self, request: &LoginRequest, status: LoginStatus) -> TargetStep {
        let (current, _) = stages_of(request.flags);
        let header = LoginResponse {
            flags: stage_bits(current, Stage(0)),
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn: self.stat_sn.take().into(),
            exp_cmd_sn: self.exp_cmd_sn().into(),
            max_cmd_sn: self.max_cmd_sn().into(),
            status,
            ..LoginResponse::default()
        };
        TargetStep::Refused { response: Pdu::bare(header), status }
    }

    /// Login requests are immediate: they do not use up the CmdSN that they carry.
    // RFC 7143 §11.12.8 MUST: ExpCmdSN begins with the CmdSN of the first Login Request.
    fn exp_cmd_sn(&self) -> SerialNumber {
        self.first.map_or_else(SerialNumber::default, |first| first.cmd_sn.into())
    }

    fn max_cmd_sn(&self) -> SerialNumber {
        self.exp_cmd_sn().plus(self.config.command_window.max(2) - 1)
    }
}

/// Reads the keys that say who logs in from the first request's keys.
fn identify(request: &LoginRequest, keys: &TextKeys) -> Result<LoginIdentity, LoginStatus> {
    let kind = match keys.get(key::SESSION_TYPE) {
        None | Some("Normal") => SessionKind::Normal,
        Some("Discovery") => SessionKind::Discovery,
        Some(_) => return Err(LoginStatus::SESSION_TYPE_NOT_SUPPORTED),
    };
    let initiator_name = keys.get(key::INITIATOR_NAME).ok_or(LoginStatus::MISSING_PARAMETER)?;
    let target_name = keys.get(key::TARGET_NAME);
    if kind == SessionKind::Normal && target_name.is_none() {
        return Err(LoginStatus::MISSING_PARAMETER);
    }
    if !is_iscsi_name(initiator_name) {
        return Err(LoginStatus::INITIATOR_ERROR);
    }
    if target_name.is_some_and(|name| !is_iscsi_name(name)) {
        return Err(LoginStatus::TARGET_NOT_FOUND);
    }
    Ok(LoginIdentity {
        initiator_name: initiator_name.to_owned(),
        initiator_alias: keys.get(key::INITIATOR_ALIAS).map(str::to_owned),
        target_name: target_name.map(str::to_owned),
        kind,
        isid: request.isid,
        tsih: request.tsih.get(),
        cid: request.cid.get(),
    })
}

impl Admitted {
    /// Takes the keys that say who logs in. Those of the first request have been read; later ones may add what was not said.
    fn declare(&mut self, is_first: bool, keys: &TextKeys) -> Result<(), LoginStatus> {
        for (name, value) in keys.iter() {
            // RFC 7143 §6.2 MUST NOT: a key of the RFC is answered with NotUnderstood.
            if name == SEND_TARGETS || TARGET_KEYS.contains(&name) {
                return Err(LoginStatus::INITIATOR_ERROR);
            }
            if !is_identity_key(name) {
                continue;
            }
            let fits = is_first
                || match name {
                    key::INITIATOR_ALIAS => {
                        self.identity.initiator_alias = Some(value.to_owned());
                        true
                    }
                    key::SESSION_TYPE => value == "Normal" && self.identity.kind == SessionKind::Normal,
                    _ => false,
                };
            // RFC 7143 §6.3 MUST: a key that comes twice ends the login with the status initiator error.
            if !fits || !self.declared.insert(name.to_owned()) {
                return Err(LoginStatus::INITIATOR_ERROR);
            }
        }
        Ok(())
    }

    /// Takes the security keys of a request (RFC 7143 12.1). The security stage is the only place for them.
    fn authenticate(&mut self, stage: Stage, keys: &TextKeys, answers: &mut TextKeys) -> Result<(), LoginStatus> {
        if stage != Stage::SECURITY {
            return match self.proof {
                _ if keys.iter().any(|(name, _)| is_security_key(name)) => Err(LoginStatus::INITIATOR_ERROR),
                Proof::Given => Ok(()),
                // It began behind the stage in which it had to prove itself.
                _ => Err(LoginStatus::AUTHENTICATION_FAILURE),
            };
        }
        if let Some(offer) = keys.get(key::AUTH_METHOD) {
            let chosen = self.choose_method(offer)?;
            answers.push(key::AUTH_METHOD, chosen);
            if chosen == method::CHAP {
                self.proof = Proof::Algorithm;
            }
            // An algorithm is offered only after the method is agreed on.
            return if chap::is_part_of(keys) { Err(LoginStatus::INITIATOR_ERROR) } else { Ok(()) };
        }
        if !chap::is_part_of(keys) && self.proof != Proof::Algorithm && !matches!(self.proof, Proof::Response(_)) {
            return Ok(());
        }
        let Authentication::Chap { initiator, target, challenge } = &self.admission.authentication else {
            return Err(LoginStatus::INITIATOR_ERROR);
        };
        match self.proof {
            Proof::Algorithm => {
                chap::require_only(keys, &[chap::key::ALGORITHM]).map_err(status_of)?;
                // RFC 7143 §12.1.3 MUST: an offer of CHAP algorithms is answered with one of them and a challenge, or refused with the status authentication failure.
                let algorithm = chap::choose(keys).map_err(status_of)?;
                answers.push(chap::key::ALGORITHM, algorithm.number().to_string());
                chap::challenge(challenge, answers);
                self.proof = Proof::Response(algorithm);
            }
            // RFC 7143 §12.1 MUST: CHAP is there, for both directions.
            Proof::Response(algorithm) => {
                chap::require_only(keys, &chap::key::ALL[1..]).map_err(status_of)?;
                // RFC 7143 §12.1.3 MUST: a wrong CHAP response is refused with the status authentication failure.
                chap::verify(algorithm, initiator, challenge, keys).map_err(status_of)?;
                // RFC 7143 §9.2.1 MUST: a CHAP response that this end would give itself, for both have one secret, is no proof.
                if target.as_ref().is_some_and(|target| target.secret == initiator.secret) {
                    return Err(LoginStatus::AUTHENTICATION_FAILURE);
                }
                // RFC 7143 §12.1.3 MUST: an initiator that wants the target to prove itself gets CHAP_N and CHAP_R, or is refused.
                if chap::is_challenged(keys) {
                    let own = target.as_ref().ok_or(LoginStatus::AUTHENTICATION_FAILURE)?;
                    chap::prove(algorithm, own, keys, Some(challenge), answers).map_err(status_of)?;
                }
                self.proof = Proof::Given;
            }
            Proof::Method | Proof::Given => return Err(LoginStatus::INITIATOR_ERROR),
        }
        Ok(())
    }

    /// The method for an offer of methods.
    // RFC 7143 §6.3.2 MUST: of the methods that are offered, the first is chosen that the initiator may use.
    // RFC 7143 §6.3.2 MUST: a security negotiation that fails ends with the Login Response for it.
    fn choose_method(&self, offer: &str) -> Result<&'static str, LoginStatus> {
        let offered = parse_list(offer).map_err(|_| LoginStatus::INITIATOR_ERROR)?;
        let wanted = match (&self.admission.authentication, self.proof) {
            (Authentication::None, _) => method::NONE,
            (Authentication::Chap { .. }, Proof::Method) => method::CHAP,
            // The method is chosen once.
            _ => return Err(LoginStatus::INITIATOR_ERROR),
        };
        if offered.contains(&wanted) { Ok(wanted) } else { Err(LoginStatus::AUTHENTICATION_FAILURE) }
    }
}

/// The table from what is wrong with CHAP to the status of the login.
// RFC 7143 §9.2 MUST: security keys that are not those of the step are refused with the status initiator error or missing parameter.
const fn status_of(error: ChapError) -> LoginStatus {
    match error {
        ChapError::Missing(_) => LoginStatus::MISSING_PARAMETER,
        ChapError::Malformed(_) => LoginStatus::INITIATOR_ERROR,
        ChapError::NoAlgorithm | ChapError::Wrong | ChapError::Reflected => LoginStatus::AUTHENTICATION_FAILURE,
    }
}

fn is_security_key(name: &str) -> bool {
    name == key::AUTH_METHOD || chap::key::ALL.contains(&name)
}

fn is_identity_key(name: &str) -> bool {
    [key::INITIATOR_NAME, key::INITIATOR_ALIAS, key::TARGET_NAME, key::SESSION_TYPE].contains(&name)
}

// RFC 7143 §4.2.7.1 MUST: names of up to 223 bytes are taken.
fn is_iscsi_name(name: &str) -> bool {
    let form = name.get(..4).map(str::to_ascii_lowercase);
    matches!(form.as_deref(), Some("iqn." | "eui." | "naa."))
        && (5..=NAME_BYTES_MAX).contains(&name.len())
        && !name.chars().any(|c| c.is_whitespace() || c.is_control())
}
