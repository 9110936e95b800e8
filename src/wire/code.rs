//! The stable codes of everything that can go wrong, as they stand on the wire, in the API and in logs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, retry $retry:literal;)*) => {
        /// What went wrong, for programs. A code never changes its meaning; new ones may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
            /// A code that this reader is too old to know.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl ErrorCode {
            /// Every code, for documents and tests.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Unknown => "unknown",
                }
            }

            /// Whether the same command may succeed when it is tried again unchanged.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self {
                    $(Self::$name => $retry,)*
                    Self::Unknown => false,
                }
            }
        }
    };
}

codes! {
    // Messages and requests
    /// The body is not JSON.
    NotJson = "not-json", retry false;
    /// A field is missing, unknown or of the wrong kind.
    BadSchema = "bad-schema", retry false;
    /// The message is of a type that the reader does not take.
    UnknownType = "unknown-type", retry false;
    /// There is no such verb.
    UnknownVerb = "unknown-verb", retry false;
    /// There is no such node.
    UnknownNode = "unknown-node", retry false;
    /// There is no such job.
    UnknownJob = "unknown-job", retry false;
    /// The node has been seen but not enrolled.
    NotEnrolled = "not-enrolled", retry false;
    /// The request contradicts what is there: a name taken, a state that does not allow it.
    Conflict = "conflict", retry false;
    /// No token, or a wrong one.
    Unauthorized = "unauthorized", retry false;
    /// The request came through a web page, and no token protects the API.
    Forbidden = "forbidden", retry false;
    /// There is no such page.
    NotFound = "not-found", retry false;
    /// The page does not take this method.
    MethodNotAllowed = "method-not-allowed", retry false;
    /// The body is not declared as JSON.
    NotDeclaredJson = "not-declared-json", retry false;
    /// The body is larger than what is read.
    BodyTooLarge = "body-too-large", retry false;
    /// The store has no room.
    StoreFull = "store-full", retry true;
    /// The store cannot be read or written.
    StoreUnavailable = "store-unavailable", retry true;

    // Commands
    /// The agent is carrying out another command.
    Busy = "busy", retry true;
    /// The agent is shutting down.
    Draining = "draining", retry true;
    /// A newer attempt of the same job has been seen.
    StaleAttempt = "stale-attempt", retry false;
    /// The command was meant for another boot of the agent.
    StaleBoot = "stale-boot", retry true;
    /// The command came after its time.
    Expired = "expired", retry true;
    /// The command is for another node.
    WrongNode = "wrong-node", retry false;
    /// It was cancelled on request.
    Cancelled = "cancelled", retry false;
    /// The job's own deadline passed.
    DeadlineExceeded = "deadline-exceeded", retry false;
    /// The agent stopped reporting, or came back as another boot.
    Interrupted = "interrupted", retry true;
    /// A fault in Farrier itself: a handler panicked.
    Panic = "panic", retry true;

    // Disks
    /// Outside a RAM disk, and no disk was given with `--lab-disk`.
    NoLabDisks = "no-lab-disks", retry false;
    /// The device was not given to this agent.
    DeviceNotAllowed = "device-not-allowed", retry false;
    /// The device is mounted or held by another.
    DeviceInUse = "device-in-use", retry false;
    /// The device cannot be written.
    DeviceReadOnly = "device-read-only", retry false;
    /// The device is no longer the one that was chosen.
    DeviceChanged = "device-changed", retry false;
    /// A read, a write or a flush failed.
    DeviceIo = "device-io", retry true;
    /// A root device hint is not one that exists, or cannot be read.
    BadHint = "bad-hint", retry false;
    /// No disk fits the root device hints.
    NoRootDevice = "no-root-device", retry false;
    /// More than one disk fits the root device hints.
    AmbiguousRootDevice = "ambiguous-root-device", retry false;
    /// There was no device to erase, and that was not asked for.
    NothingToErase = "nothing-to-erase", retry false;
    /// The device was erased and still returns old data.
    EraseNotProven = "erase-not-proven", retry false;

    // Images
    /// The digest of the bytes received is not the one given.
    DigestMismatch = "digest-mismatch", retry false;
    /// No digest was given, or one by an algorithm that the operator does not allow.
    DigestRequired = "digest-required", retry false;
    /// The checksum file does not name the image, or cannot be read.
    ChecksumFile = "checksum-file", retry false;
    /// The image is damaged: a compressed stream that is cut or goes on behind its end, a qcow2 whose tables make no sense.
    ImageCorrupt = "image-corrupt", retry false;
    /// The image asks for something that is refused: a backing file, encryption, more memory than there may be.
    ImageUnsupported = "image-unsupported", retry false;
    /// The image cannot be written in one pass, and there is no room to keep it.
    ImageNeedsSpool = "image-needs-spool", retry false;
    /// The disk does not return what was written to it.
    ReadBackMismatch = "read-back-mismatch", retry true;
    /// The object changed on the server while it was fetched, again and again.
    HttpChanged = "http-changed", retry true;
    /// The image did not come within the time that fetching it may take.
    HttpDeadline = "http-deadline", retry false;
    /// A file with an image or a checksum cannot be read.
    FileUnreadable = "file-unreadable", retry false;
    /// The image is larger than the device.
    ImageTooLarge = "image-too-large", retry false;
    /// The image is in a format that is not the one declared, or not one that is taken.
    ImageFormat = "image-format", retry false;
    /// The image has no partition table, or one that makes no sense on this device.
    ImageNotBootable = "image-not-bootable", retry false;
    /// The server answered with a status that is final.
    HttpStatus = "http-status", retry false;
    /// The server answered with a status that may pass.
    HttpUnavailable = "http-unavailable", retry true;
    /// The server could not be reached.
    HttpConnect = "http-connect", retry true;
    /// The connection ended before the whole image had come.
    HttpTruncated = "http-truncated", retry true;
    /// The server sent nothing for too long.
    HttpStalled = "http-stalled", retry true;
    /// The URL that the coordinator made has run out, and no fresh one came.
    UrlExpired = "url-expired", retry true;
    /// There is no such image: no such object, file or entry of the catalogue.
    ImageNotFound = "image-not-found", retry false;
    /// Swift does not take the temporary URLs that are made with the key of the configuration.
    TempUrlRefused = "temp-url-refused", retry false;
    /// The file is not below a path from which images may be served.
    PathNotAllowed = "path-not-allowed", retry false;
    /// The file is another one than when its URL was made.
    ImageReplaced = "image-replaced", retry true;
    /// The coordinator has no room to keep an image that it shall serve.
    ImageCacheFull = "image-cache-full", retry true;

    // Nodes and their power
    /// A value in the driver info of a node is wrong.
    BadDriverInfo = "bad-driver-info", retry false;
    /// A secret was given, and the coordinator has no key to keep it under.
    SecretKeyMissing = "secret-key-missing", retry false;
    /// A secret in the store was written under a key that the coordinator does not have.
    SecretUnreadable = "secret-unreadable", retry false;
    /// The driver info of the node names no management controller, and what was asked for needs one.
    NoPowerDriver = "no-power-driver", retry false;
    /// Switching the power off is not allowed for this node.
    PowerOffDisabled = "power-off-disabled", retry false;
    /// The management controller cannot be reached, or does not answer.
    BmcUnreachable = "bmc-unreachable", retry true;
    /// The management controller refused the credentials.
    BmcUnauthorized = "bmc-unauthorized", retry false;
    /// The management controller refused the request.
    BmcRefused = "bmc-refused", retry false;
    /// The management controller failed to do what it was asked.
    BmcFailed = "bmc-failed", retry true;
    /// What the management controller answered makes no sense.
    BmcBadAnswer = "bmc-bad-answer", retry true;
    /// The machine did not reach the power state that it was to reach.
    PowerTimeout = "power-timeout", retry true;

    // The rest
    /// The hardware or the kernel would not say what it must.
    Hardware = "hardware", retry true;
    /// A configuration key or value is wrong.
    BadConfig = "bad-config", retry false;
    /// The broker cannot be reached.
    BrokerUnavailable = "broker-unavailable", retry true;
    /// The broker refused the credentials.
    BrokerRefused = "broker-refused", retry false;
    /// Something that has no code of its own.
    Internal = "internal", retry true;
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// For programs.
    pub code: ErrorCode,
    /// For people: the thing, what was expected, what was found, what to do next. Holds no secret.
    pub message: String,
    /// The field at fault, with dots, where the error is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl ErrorReport {
    /// An error that is not about a field.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }
}

impl std::fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)
    }
}

impl From<&super::DecodeError> for ErrorReport {
    fn from(error: &super::DecodeError) -> Self {
        Self { code: error.code(), message: error.to_string(), field: error.field().map(str::to_owned) }
    }
}

/// An error that has a code on the wire.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> ErrorCode;

    /// The error as it stands on the wire: its message and those of its causes, outermost first.
    fn report(&self) -> ErrorReport {
        let mut message = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        ErrorReport::new(self.code(), message)
    }
}
