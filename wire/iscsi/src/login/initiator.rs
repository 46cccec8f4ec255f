//! The initiator's side of a login.

use zerocopy::byteorder::big_endian::U16;

use super::chap::{self, ChapAlgorithm, ChapChallenge, ChapCredential, ChapError};
use super::{LoginIdentity, LoginStatus, NegotiatedSession, SessionKind, key, method, stage_bits, stages_of};
use crate::negotiation::{DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH, Negotiation, NegotiationError, Preferences, Role};
use crate::pdu::{CONTINUE, FINAL, Isid, LoginRequest, LoginResponse, Opcode, Pdu, Stage, Tag};
use crate::serial::SerialNumber;
use crate::text::{TEXT_BYTES_MAX, TextError, TextGather, TextKeys, TextPortions};

/// Responses that one login may take; a target that needs more never agrees.
const RESPONSES_MAX: u32 = 64;
/// Bytes of text in one request: what a target takes that has declared nothing.
const REQUEST_TEXT_BYTES_MAX: usize = DEFAULT_MAX_RECV_DATA_SEGMENT_LENGTH as usize;

/// Which stages a login goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginPath {
    /// Security, then operational; what most initiators do.
    SecurityThenOperational,
    /// Straight to the operational stage, when no authentication is wanted.
    OperationalOnly,
    /// From security straight to full feature: every operational key keeps its default.
    SecurityOnly,
}

/// How an initiator logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiatorLoginConfig {
    /// Its name.
    pub initiator_name: String,
    /// Its own words about itself.
    pub initiator_alias: Option<String>,
    /// The target of a normal session; `None` for a discovery session.
    pub target_name: Option<String>,
    /// The session's identity on this side, unique among the sessions of this name with the target.
    pub isid: Isid,
    /// The stages to go through.
    pub path: LoginPath,
    /// How the ends prove who they are; `None` if they need not.
    pub chap: Option<InitiatorChap>,
    /// What the initiator would like to agree on.
    pub preferences: Preferences,
    /// The CmdSN of the first command.
    pub first_cmd_sn: SerialNumber,
}

/// How an initiator proves who it is, and has the target prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitiatorChap {
    /// The initiator's own name and secret.
    pub own: ChapCredential,
    /// What the target has to prove, if anything, and the challenge for it.
    pub target: Option<(ChapCredential, ChapChallenge)>,
}

/// How far both ends are with proving who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// The target is to choose the method.
    Method,
    /// It is to choose the algorithm and send its challenge.
    Challenge,
    /// It is to prove itself.
    Target(ChapAlgorithm),
    /// Nothing more is wanted.
    Given,
}

/// The initiator's side of one login: send what [`start`](Self::start) gives, then feed it each response.
#[derive(Clone, Debug)]
pub struct InitiatorLogin {
    config: InitiatorLoginConfig,
    stage: Stage,
    negotiation: Negotiation,
    proof: Proof,
    /// Whether the keys of the current stage have been put into a request.
    offered: bool,
    responses: u32,
    exp_stat_sn: Option<SerialNumber>,
    gather: TextGather,
    portions: TextPortions,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum InitiatorStep {
    /// Send this and wait for the response.
    Send(Pdu),
    /// The session is in its full feature phase.
    Complete(Box<NegotiatedSession>),
}

/// A login that failed. Close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The target refused.
    #[error("the target refused the login: {status}")]
    Refused {
        /// Why.
        status: LoginStatus,
    },
    /// The target is somewhere else.
    #[error("{status}, to {address}")]
    Redirected {
        /// For now or for good.
        status: LoginStatus,
        /// `host:port[,portal group tag]`.
        address: String,
    },
    /// Something other than a Login Response came.
    #[error("{opcode:?} came during the login")]
    Unexpected {
        /// What came.
        opcode: Opcode,
    },
    /// A response that contradicts the request.
    #[error("the login response is not valid: {reason}")]
    InvalidResponse {
        /// In what way.
        reason: &'static str,
    },
    /// The response's text is not valid.
    #[error("the text of the login response is not valid")]
    Text(#[from] TextError),
    /// The ends could not agree.
    #[error("the negotiation failed")]
    Negotiation(#[from] NegotiationError),
    /// The target chose a method of authentication that was not offered.
    #[error("the target chose {method:?} to authenticate by, which was not offered")]
    AuthenticationRequired {
        /// The method.
        method: String,
    },
    /// The target has not proved who it is, or has made it impossible to prove who this end is.
    #[error("the target was not authenticated")]
    NotAuthenticated(#[from] ChapError),
}

impl InitiatorLogin {
    /// Begins a login; the PDU is the first request.
    #[must_use]
    pub fn start(config: InitiatorLoginConfig) -> (Self, Pdu) {
        let discovery = config.target_name.is_none();
        let mut login = Self {
            stage: match config.path {
                LoginPath::OperationalOnly => Stage::OPERATIONAL,
                LoginPath::SecurityThenOperational | LoginPath::SecurityOnly => Stage::SECURITY,
            },
            negotiation: Negotiation::new(Role::Initiator, discovery, config.preferences.clone()),
            proof: if config.chap.is_some() { Proof::Method } else { Proof::Given },
            offered: false,
            responses: 0,
            exp_stat_sn: None,
            gather: TextGather::new(TEXT_BYTES_MAX),
            portions: TextPortions::default(),
            config,
        };
        let mut keys = login.identity_keys();
        login.offer_stage_keys(&mut keys);
        login.portions = TextPortions::new(keys.encode());
        let request = login.next_request();
        (login, request)
    }

    /// Takes the target's next PDU.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub fn handle(&mut self, pdu: &Pdu) -> Result<InitiatorStep, LoginError> {
        let Some(response) = pdu.bhs.view::<LoginResponse>() else {
            return Err(LoginError::Unexpected { opcode: pdu.bhs.opcode() });
        };
        if !response.status.is_success() {
            return Err(refusal(response.status, &pdu.data));
        }
        self.check_header(response)?;
        let continued = response.flags & CONTINUE != 0;
        if !self.portions.is_empty() {
            // This only acknowledges a request with the C bit.
            if !pdu.data.is_empty() || continued || response.flags & FINAL != 0 {
                return Err(LoginError::InvalidResponse { reason: "it speaks before the request is complete" });
            }
            return Ok(InitiatorStep::Send(self.next_request()));
        }
        let Some(keys) = self.gather.push(&pdu.data, continued)? else {
            return Ok(InitiatorStep::Send(self.request(0, TextPortions::default())));
        };
        keys.require_unique()?;
        let mut answers = self.take_keys(&keys)?;
        if response.flags & FINAL != 0 {
            let (_, next) = stages_of(response.flags);
            if next == Stage::FULL_FEATURE {
                return self.complete(response, &answers).map(InitiatorStep::Complete);
            }
            self.stage = next;
            self.offered = false;
        }
        self.offer_stage_keys(&mut answers);
        self.portions = TextPortions::new(answers.encode());
        Ok(InitiatorStep::Send(self.next_request()))
    }

    fn identity_keys(&self) -> TextKeys {
        let mut keys = TextKeys::default();
        keys.push(key::INITIATOR_NAME, &self.config.initiator_name);
        if let Some(alias) = &self.config.initiator_alias {
            keys.push(key::INITIATOR_ALIAS, alias);
        }
        match &self.config.target_name {
            Some(target) => {
                keys.push(key::SESSION_TYPE, "Normal");
                keys.push(key::TARGET_NAME, target);
            }
            None => keys.push(key::SESSION_TYPE, "Discovery"),
        }
        keys
    }

    fn offer_stage_keys(&mut self, keys: &mut TextKeys) {
        if self.offered {
            return;
        }
        self.offered = true;
        if self.stage == Stage::SECURITY {
            keys.push(key::AUTH_METHOD, if self.config.chap.is_some() { method::CHAP } else { method::NONE });
        } else {
            for (name, value) in self.negotiation.offers().iter() {
                keys.push(name, value);
            }
        }
    }

    /// The stage that follows the current one.
    const fn next_stage(&self) -> Stage {
        match (self.stage, self.config.path) {
            (Stage::SECURITY, LoginPath::SecurityThenOperational | LoginPath::OperationalOnly) => Stage::OPERATIONAL,
            _ => Stage::FULL_FEATURE,
        }
    }

    fn check_header(&mut self, response: &LoginResponse) -> Result<(), LoginError> {
        let invalid = |reason| Err(LoginError::InvalidResponse { reason });
        self.responses += 1;
        let (current, next) = stages_of(response.flags);
        let transits = response.flags & FINAL != 0;
        if self.responses > RESPONSES_MAX {
            return invalid("the target does not come to an end");
        }
        if response.itt != self.tag() || response.isid != self.config.isid {
            return invalid("it answers another login");
        }
        if current != self.stage || transits && (next != self.next_stage() || !self.may_leave_stage()) {
            return invalid("its stages are not those of the request");
        }
        if transits && response.flags & CONTINUE != 0 {
            return invalid("it leaves the stage in the middle of a text");
        }
        let stat_sn = SerialNumber::from(response.stat_sn);
        if self.exp_stat_sn.is_some_and(|expected| expected != stat_sn) {
            return invalid("its StatSN is out of sequence");
        }
        self.exp_stat_sn = Some(stat_sn.next());
        Ok(())
    }

    /// Takes the target's keys; what comes back answers its offers.
    fn take_keys(&mut self, keys: &TextKeys) -> Result<TextKeys, LoginError> {
        let about_the_target = [key::AUTH_METHOD, key::TARGET_ALIAS, key::TARGET_PORTAL_GROUP_TAG, key::TARGET_ADDRESS];
        let taken = |name: &str| about_the_target.contains(&name) || chap::key::ALL.contains(&name);
        let mut answers = self.negotiation.take(keys.iter().filter(|(name, _)| !taken(name)))?;
        self.authenticate(keys, &mut answers)?;
        Ok(answers)
    }

    /// Takes the target's security keys.
    fn authenticate(&mut self, keys: &TextKeys, answers: &mut TextKeys) -> Result<(), LoginError> {
        let offered = if self.config.chap.is_some() { method::CHAP } else { method::NONE };
        let chosen = keys.get(key::AUTH_METHOD);
        if let Some(method) = chosen.filter(|chosen| *chosen != offered) {
            return Err(LoginError::AuthenticationRequired { method: method.to_owned() });
        }
        let Some(chap) = &self.config.chap else { return Ok(()) };
        match self.proof {
            Proof::Method if chosen.is_some() => {
                answers.push(chap::key::ALGORITHM, chap::offer());
                self.proof = Proof::Challenge;
            }
            Proof::Challenge if chap::is_part_of(keys) => {
                let algorithm = chap::choose(keys)?;
                let sent = chap.target.as_ref().map(|(_, challenge)| challenge);
                chap::prove(algorithm, &chap.own, keys, sent, answers)?;
                if let Some(challenge) = sent {
                    chap::challenge(challenge, answers);
                }
                self.proof = if sent.is_some() { Proof::Target(algorithm) } else { Proof::Given };
            }
            Proof::Target(algorithm) => {
                if let Some((target, challenge)) = &chap.target {
                    chap::verify(algorithm, target, challenge, keys)?;
                }
                self.proof = Proof::Given;
            }
            Proof::Method | Proof::Challenge | Proof::Given => {}
        }
        Ok(())
    }

    /// Whether this end has said all that it has to say in the current stage.
    const fn may_leave_stage(&self) -> bool {
        matches!(self.proof, Proof::Target(_) | Proof::Given)
    }

    fn complete(&self, response: &LoginResponse, unsent: &TextKeys) -> Result<Box<NegotiatedSession>, LoginError> {
        if !unsent.is_empty() {
            return Err(LoginError::InvalidResponse { reason: "it ends the login with an offer" });
        }
        if !self.negotiation.is_settled() {
            return Err(LoginError::InvalidResponse { reason: "it leaves an offer without an answer" });
        }
        if response.tsih.get() == 0 {
            return Err(LoginError::InvalidResponse { reason: "it does not name the session" });
        }
        Ok(Box::new(NegotiatedSession {
            identity: LoginIdentity {
                initiator_name: self.config.initiator_name.clone(),
                initiator_alias: self.config.initiator_alias.clone(),
                target_name: self.config.target_name.clone(),
                kind: if self.config.target_name.is_some() { SessionKind::Normal } else { SessionKind::Discovery },
                isid: self.config.isid,
                tsih: response.tsih.get(),
                cid: 0,
            },
            parameters: self.negotiation.agreed(),
            first_cmd_sn: self.config.first_cmd_sn,
            max_cmd_sn: response.max_cmd_sn.into(),
            next_stat_sn: SerialNumber::from(response.stat_sn).next(),
        }))
    }

    /// The next request with what is left of the text; it asks for the next stage when nothing is left to say in this one.
    fn next_request(&mut self) -> Pdu {
        let mut probe = self.portions.clone();
        let more = probe.next_portion(REQUEST_TEXT_BYTES_MAX).1;
        let transit_flags = if more || !self.may_leave_stage() { 0 } else { FINAL | self.next_stage().0 };
        let portions = std::mem::take(&mut self.portions);
        self.request(transit_flags, portions)
    }

    fn request(&mut self, transit_flags: u8, mut portions: TextPortions) -> Pdu {
        let (text, more) = portions.next_portion(REQUEST_TEXT_BYTES_MAX);
        self.portions = portions;
        let continued = if more { CONTINUE } else { 0 };
        let mut header = LoginRequest {
            flags: transit_flags | continued | stage_bits(self.stage, Stage(0)),
            isid: self.config.isid,
            tsih: U16::ZERO,
            itt: self.tag(),
            cmd_sn: self.config.first_cmd_sn.into(),
            exp_stat_sn: self.exp_stat_sn.unwrap_or_default().into(),
            ..LoginRequest::default()
        };
        header.operation = header.operation.immediate();
        Pdu::new(header, text)
    }

    /// The tag of the login: nothing else is under way on the connection.
    const fn tag(&self) -> Tag {
        Tag::new(0)
    }
}

fn refusal(status: LoginStatus, text: &[u8]) -> LoginError {
    let keys = TextKeys::parse(text).unwrap_or_default();
    match keys.get(key::TARGET_ADDRESS) {
        Some(address) if status.class == LoginStatus::MOVED_TEMPORARILY.class => {
            LoginError::Redirected { status, address: address.to_owned() }
        }
        _ => LoginError::Refused { status },
    }
}
