//! The operations of the API as a table: the server builds its routes from it, and the OpenAPI document is written from it. So
//! neither can have what the other lacks.

use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::api::{
    AdminLunsAnswer, AdminSetsAnswer, ArmRequest, AssignedAnswer, DeleteLunRequest, EnrolAnswer, EnrolRequest,
    EnrolmentAnswer, EnrolmentRequest, HostRequest, HostsAnswer, LunsRequest, NewLunAnswer, NewLunRequest,
    NewSetRequest, NoteUseRequest, OutcomeAnswer, OutcomesAnswer, PROBLEM_MEDIA_TYPE, PrepareRequest,
    PresentationRequest, Problem, RenameRequest, ResolveAnswer, ResolveRequest, ResyncRequest, TargetsAnswer,
    WaitAnswer, WaitRequest,
};
use crate::{
    BlockContent, CONTENT_MEDIA_TYPE, CapacityRequest, ChapAccounts, CopiesAnswer, CopyRequest, CopyState,
    ExportRequest, ExtentsAnswer, HostOverview, HostRecord, PoolLunsAnswer, PoolLunsRequest, PoolStatus,
    PortalGroupRequest, PortalGroupsAnswer, PromoteRequest, ResyncState, RevertRequest, ScrubAnswer, ScrubRequest,
    TransferAnswer,
};

/// The methods of HTTP that the API uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Acts.
    Post,
    /// Makes something so.
    Put,
    /// Makes something gone.
    Delete,
}

impl Method {
    /// What stands in a request (RFC 9110 section 9.1).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Whoever has an enrolment token.
    Anybody,
    /// A host, with its credential.
    Host,
    /// An administrator, with theirs.
    Administrator,
}

/// The name of a schema, itself, and those that it refers to.
struct Shape {
    name: String,
    schema: RefOr<Schema>,
    parts: Vec<(String, RefOr<Schema>)>,
}

fn shape<T: ToSchema + PartialSchema>() -> Shape {
    let mut parts = Vec::new();
    T::schemas(&mut parts);
    Shape { name: T::name().into_owned(), schema: T::schema(), parts }
}

/// Defines the operations, so that none can be without a path or a shape.
macro_rules! operations {
    ($($name:ident: $method:ident $path:literal, $asker:ident, $summary:literal $(, takes $request:ty)?, answers $answer:ty;)*) => {
        /// An operation of the API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = $summary] $name,)*
        }

        impl Operation {
            /// All operations.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The method.
            #[must_use]
            pub const fn method(self) -> Method {
                match self { $(Self::$name => Method::$method,)* }
            }

            /// The path, with its parameters in braces.
            #[must_use]
            pub const fn path(self) -> &'static str {
                match self { $(Self::$name => $path,)* }
            }

            /// Who may ask.
            #[must_use]
            pub const fn asker(self) -> Asker {
                match self { $(Self::$name => Asker::$asker,)* }
            }

            const fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }

            fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            fn request(self) -> Option<Shape> {
                #[expect(unused_mut, unused_assignments, reason = "not every operation takes a body")]
                match self {
                    $(Self::$name => {
                        let mut request = None;
                        $(request = Some(shape::<$request>());)?
                        request
                    })*
                }
            }

            fn answer(self) -> Shape {
                match self { $(Self::$name => shape::<$answer>(),)* }
            }
        }
    };
}

operations! {
    Enrol: Post "/v1/enrol", Anybody, "Exchanges an enrolment token for a credential",
        takes EnrolRequest, answers EnrolAnswer;
    WhoAmI: Get "/v1/host", Host, "Who the array takes the asker for", answers HostRecord;
    Overview: Get "/v1/host/overview", Host, "All that concerns the asking host, for people to look at",
        answers HostOverview;
    Resolve: Post "/v1/luns/resolve", Host, "Finds LUNs by what the host sees of them",
        takes ResolveRequest, answers ResolveAnswer;
    Map: Post "/v1/luns/map", Host, "Maps LUNs to the host, all or none",
        takes LunsRequest, answers OutcomesAnswer;
    Unmap: Post "/v1/luns/unmap", Host, "Takes LUNs away from the host; they go on to exist",
        takes LunsRequest, answers OutcomesAnswer;
    NoteUse: Post "/v1/luns/note-use", Host, "Notes what the host does with shadow LUNs",
        takes NoteUseRequest, answers OutcomesAnswer;
    Release: Post "/v1/luns/{lun}/release", Host, "Unmaps a shadow LUN from every host and deletes it",
        answers OutcomeAnswer;
    Prepare: Post "/v1/sets/{set}/prepare", Host, "Adds LUNs to a shadow set, which comes to be with the first",
        takes PrepareRequest, answers OutcomeAnswer;
    WaitPrepared: Post "/v1/sets/{set}/wait", Host, "Waits until a set is prepared",
        takes WaitRequest, answers WaitAnswer;
    Open: Post "/v1/sets/{set}/open", Host, "Whether a set can be armed: the first request of the connection that carries the commit",
        answers OutcomeAnswer;
    Arm: Post "/v1/sets/{set}/arm", Host, "Tells that the commit comes next, with its deadline",
        takes ArmRequest, answers OutcomeAnswer;
    Commit: Post "/v1/sets/{set}/commit", Host, "Fixes the point in time of all LUNs of a set, durably",
        answers OutcomeAnswer;
    Keep: Post "/v1/sets/{set}/keep", Host, "Makes a committed set permanent", answers OutcomeAnswer;
    Abort: Post "/v1/sets/{set}/abort", Host, "Ends a set that is not kept", answers OutcomeAnswer;
    Withdraw: Post "/v1/sets/{set}/withdraw", Host, "Ends a set whose shadow LUNs nobody has seen", answers OutcomeAnswer;
    Targets: Get "/v1/sets/{set}/targets", Host, "The shadow LUNs of a committed set", answers TargetsAnswer;
    StartResync: Put "/v1/resyncs/{resync}", Host, "Begins to give LUNs the content of shadow LUNs, all or none",
        takes ResyncRequest, answers ResyncState;
    WaitResync: Post "/v1/resyncs/{resync}/wait", Host, "How a resync stands, after waiting for its end",
        takes WaitRequest, answers ResyncState;
    CancelResync: Post "/v1/resyncs/{resync}/cancel", Host, "Stops a resync if nothing was changed yet",
        answers ResyncState;
    Hosts: Get "/v1/admin/hosts", Administrator, "All hosts", answers HostsAnswer;
    PutHost: Put "/v1/admin/hosts/{host}", Administrator, "Makes a host known, or changes it, and issues an enrolment token",
        takes HostRequest, answers EnrolmentAnswer;
    RemoveHost: Delete "/v1/admin/hosts/{host}", Administrator, "Forgets a host with its credential",
        answers OutcomeAnswer;
    IssueEnrolment: Post "/v1/admin/hosts/{host}/enrolment", Administrator, "Issues another enrolment token",
        takes EnrolmentRequest, answers EnrolmentAnswer;
    PutChap: Put "/v1/admin/hosts/{host}/chap", Administrator, "Has the initiators of a host prove who they are",
        takes ChapAccounts, answers OutcomeAnswer;
    RemoveChap: Delete "/v1/admin/hosts/{host}/chap", Administrator, "Has the initiators of a host prove nothing",
        answers OutcomeAnswer;
    Luns: Get "/v1/admin/luns", Administrator, "All LUNs that are no shadow LUNs of a set", answers AdminLunsAnswer;
    CreateLun: Put "/v1/admin/luns/{lun}", Administrator, "Makes an empty LUN",
        takes NewLunRequest, answers NewLunAnswer;
    RenameLun: Post "/v1/admin/luns/{lun}/rename", Administrator, "Gives a LUN another name",
        takes RenameRequest, answers OutcomeAnswer;
    GrowLun: Post "/v1/admin/luns/{lun}/grow", Administrator, "Makes a LUN longer; hosts that see it are told",
        takes NewLunRequest, answers OutcomeAnswer;
    PresentLun: Post "/v1/admin/luns/{lun}/presentation", Administrator, "Has initiators see a LUN otherwise; hosts that see it are told",
        takes PresentationRequest, answers OutcomeAnswer;
    DeleteLun: Post "/v1/admin/luns/{lun}/delete", Administrator, "Deletes a LUN with its data",
        takes DeleteLunRequest, answers OutcomeAnswer;
    MapLun: Put "/v1/admin/luns/{lun}/hosts/{host}", Administrator, "Maps a LUN to a host", answers AssignedAnswer;
    UnmapLun: Delete "/v1/admin/luns/{lun}/hosts/{host}", Administrator, "Takes a LUN away from a host",
        answers OutcomeAnswer;
    Sets: Get "/v1/admin/sets", Administrator, "Shadow sets of all hosts, with their leases and timings",
        answers AdminSetsAnswer;
    TakeSet: Put "/v1/admin/sets/{set}", Administrator, "Captures LUNs of a host at one instant, without asking the host",
        takes NewSetRequest, answers TargetsAnswer;
    DeleteSet: Delete "/v1/admin/sets/{set}", Administrator, "Deletes the shadow LUNs of a set, whoever sees them",
        answers OutcomeAnswer;
    Promote: Post "/v1/admin/shadow-luns/{lun}/promote", Administrator, "Makes a shadow LUN a LUN of its own, of a name",
        takes PromoteRequest, answers OutcomeAnswer;
    RevertLun: Post "/v1/admin/luns/{lun}/revert", Administrator, "Gives a LUN the content of one of its shadow LUNs",
        takes RevertRequest, answers OutcomeAnswer;
    StartCopy: Put "/v1/admin/luns/{lun}/copy", Administrator, "Begins a full copy of a LUN or shadow LUN to a new LUN",
        takes CopyRequest, answers NewLunAnswer;
    CancelCopy: Delete "/v1/admin/luns/{lun}/copy", Administrator, "Gives a full copy up; nothing is left of it",
        answers OutcomeAnswer;
    WaitCopy: Post "/v1/admin/luns/{lun}/copy/wait", Administrator, "How a full copy stands, after waiting for its end",
        takes WaitRequest, answers CopyState;
    Copies: Get "/v1/admin/copies", Administrator, "Full copies that run, and the last ones that are over",
        answers CopiesAnswer;
    BeginImport: Put "/v1/admin/imports/{lun}", Administrator, "Begins to fill a new LUN, which nobody sees until it is finished",
        takes NewLunRequest, answers TransferAnswer;
    BeginExport: Post "/v1/admin/exports", Administrator, "Begins to read a LUN or shadow LUN as it is now",
        takes ExportRequest, answers TransferAnswer;
    TransferExtents: Get "/v1/admin/transfers/{transfer}/extents/{block}", Administrator, "Where there is content from a block on",
        answers ExtentsAnswer;
    ReadBlocks: Get "/v1/admin/transfers/{transfer}/blocks/{block}/{count}", Administrator, "Reads blocks, up to 1 MiB",
        answers BlockContent;
    WriteBlocks: Put "/v1/admin/transfers/{transfer}/blocks/{block}", Administrator, "Writes blocks of an import, up to 1 MiB",
        takes BlockContent, answers OutcomeAnswer;
    FinishTransfer: Post "/v1/admin/transfers/{transfer}/finish", Administrator, "Ends an export, or lets the LUN of an import be seen",
        answers OutcomeAnswer;
    CancelTransfer: Delete "/v1/admin/transfers/{transfer}", Administrator, "Gives an import or export up; nothing is left of it",
        answers OutcomeAnswer;
    PoolStatus: Get "/v1/admin/pool", Administrator, "Where the pool's space is", answers PoolStatus;
    PoolLuns: Post "/v1/admin/pool/luns", Administrator, "What LUNs and shadow LUNs take of the pool",
        takes PoolLunsRequest, answers PoolLunsAnswer;
    GrowPool: Put "/v1/admin/pool/capacity", Administrator, "Gives the pool more capacity",
        takes CapacityRequest, answers OutcomeAnswer;
    StartScrub: Post "/v1/admin/pool/scrub", Administrator, "Begins to verify everything in the pool",
        takes ScrubRequest, answers OutcomeAnswer;
    StopScrub: Delete "/v1/admin/pool/scrub", Administrator, "Stops the scrub; the next one goes on from there",
        answers OutcomeAnswer;
    WaitScrub: Post "/v1/admin/pool/scrub/wait", Administrator, "How the last scrub stands, after waiting for its end",
        takes WaitRequest, answers ScrubAnswer;
    PortalGroups: Get "/v1/admin/portal-groups", Administrator, "The target portal groups, and how LUNs are reached through them",
        answers PortalGroupsAnswer;
    SetPortalGroup: Put "/v1/admin/portal-groups/{group}", Administrator, "Has LUNs be reached through a target portal group well, badly or not at all; hosts are told",
        takes PortalGroupRequest, answers OutcomeAnswer;
    Detach: Post "/v1/admin/shadow-luns/{lun}/detach", Administrator, "Makes a shadow LUN a LUN of its own",
        answers OutcomeAnswer;
}

/// The OpenAPI document of the API, as indented JSON.
///
/// # Panics
/// Never: the document has nothing that JSON lacks.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = serde_json::to_string_pretty(&openapi()).expect("a document is JSON");
    text.push('\n');
    text
}

fn openapi() -> OpenApi {
    let problem = shape::<Problem>();
    let mut components = ComponentsBuilder::new();
    let mut paths = PathsBuilder::new();
    for operation in Operation::ALL {
        let (request, answer) = (operation.request(), operation.answer());
        let item =
            PathItemBuilder::new().operation(operation.http_method(), operation.describe(request.as_ref(), &answer));
        paths = paths.path(operation.path(), item.build());
        for shape in request.into_iter().chain([answer]) {
            components = components.schema(shape.name, shape.schema).schemas_from_iter(shape.parts);
        }
    }
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = components
        .schema(problem.name, problem.schema)
        .schemas_from_iter(problem.parts)
        .security_scheme("host", bearer.clone())
        .security_scheme("administrator", bearer);
    let about = "How hosts and administrators talk to an array. Every action may be repeated: the second time it is already-so.";
    let info = InfoBuilder::new().title("Lunshadow control API").version("1").description(Some(about)).build();
    OpenApiBuilder::new().info(info).paths(paths.build()).components(Some(components.build())).build()
}

fn media_type(shape: &Shape) -> &'static str {
    if shape.name == BlockContent::name() { CONTENT_MEDIA_TYPE } else { "application/json" }
}

impl Operation {
    fn http_method(self) -> HttpMethod {
        match self.method() {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Delete => HttpMethod::Delete,
        }
    }

    fn describe(self, request: Option<&Shape>, answer: &Shape) -> utoipa::openapi::path::Operation {
        let content = |name: &str| ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
        let success =
            ResponseBuilder::new().description("It is done").content(media_type(answer), content(&answer.name));
        let failure =
            ResponseBuilder::new().description("Why it is not").content(PROBLEM_MEDIA_TYPE, content("Problem"));
        let mut described = OperationBuilder::new()
            .operation_id(Some(self.name()))
            .summary(Some(self.summary()))
            .response("200", success.build())
            .response("default", failure.build());
        for part in self.path().split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')) {
            let text = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).build();
            let parameter = ParameterBuilder::new()
                .name(part)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(text));
            described = described.parameter(parameter.build());
        }
        if let Some(request) = request {
            let body = RequestBodyBuilder::new().required(Some(Required::True));
            described = described.request_body(Some(body.content(media_type(request), content(&request.name)).build()));
        }
        let none: [&str; 0] = [];
        match self.asker() {
            Asker::Anybody => described,
            Asker::Host => described.security(SecurityRequirement::new("host", none)),
            Asker::Administrator => described.security(SecurityRequirement::new("administrator", none)),
        }
        .build()
    }
}
