//! Examples of every message, made from the types themselves, so that they cannot differ from them.

use chrono::{DateTime, TimeDelta, Utc};
use farrier::wire::api::JobState;
use farrier::wire::inventory::{Boot, Cpu, Disk, Firmware, Interface, Inventory, Memory, SystemVendor};
use farrier::wire::report::{
    CleanReport, DeployReport, DiskIdentity, Duplicate, DuplicateKind, EraseMethod, EraseProof, EraseReport,
    Output, Partition, StepOutcome, StepReport,
};
use farrier::wire::{
    Accepted, Afterwards, AgentState, BootId, CancelCommand, CleanSpec, CleanStep, CommandId, CommandRef,
    CommandResult, DeploySpec, Digest, ErrorCode, ErrorReport, Event, FreshImageUrls, Heartbeat, Hello,
    ImageSource, ImageUrl, ImageUrlCommand, ImageUrlWanted, InspectSpec, JobChanged, JobId, JobRequest, Log,
    NodeId, NoopSpec, Origin, Outcome, Payload, Progress, RetryPolicy, RootDeviceHints, RunCommand, Running,
    Source, StatusCommand, StepProgress, Verb, Work,
};
use uuid::{Uuid, uuid};

const NODE: Uuid = uuid!("4c4c4544-0042-3510-8054-b3c04f4e3932");
const BOOT: Uuid = uuid!("019a3c5e-8f00-7cc1-9d3a-5b1e6c2f7a10");
const JOB: Uuid = uuid!("019a3c60-1a00-7b52-8e4f-2d9c0b6a1f31");
const COMMAND: Uuid = uuid!("019a3c60-1b80-7d1e-a6b0-7e3f4c5d9a02");
const GIB: u64 = 1 << 30;
const SERIAL: &str = "S4EVNF0M900123";

/// One message and what tells it from the others of its type.
pub(super) struct Example<T> {
    pub(super) name: &'static str,
    pub(super) event: Event<T>,
}

/// `number` makes its identifier; it differs from that of every other example.
fn example<T: Payload>(name: &'static str, number: u128, source: &str, subject: Uuid, data: T) -> Example<T> {
    let mut event = Event::new(source, subject.to_string(), data);
    event.id = Uuid::from_u128(0x019a_3c60_1c00_7000_8000_0000_0000_0000 + number).to_string();
    event.time = Some(at(0));
    Example { name, event }
}

/// The moment of all examples, and `seconds` later.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_764_000_000 + seconds)
}

pub(super) fn jobs() -> Vec<Example<JobRequest>> {
    let job = |name, number, request| example(name, number, "/automation/provisioner", NODE, request);
    vec![
        job("inspect", 1, request(Work::Inspect(InspectSpec {}))),
        job(
            "clean",
            2,
            request(Work::Clean(CleanSpec {
                skip_block_devices: vec![RootDeviceHints {
                    tran: Some("usb".into()),
                    ..RootDeviceHints::default()
                }],
                ..CleanSpec::default()
            })),
        ),
        job(
            "deploy",
            3,
            JobRequest {
                job: Some(JobId(JOB)),
                idempotency_key: Some("rollout-7/web-12".into()),
                retry: Some(RetryPolicy { max_attempts: 5, backoff_seconds: 30 }),
                timeout_seconds: Some(7200),
                ..request(deploy())
            },
        ),
        job("noop", 4, request(Work::Noop(NoopSpec {}))),
    ]
}

fn request(work: Work<ImageSource>) -> JobRequest {
    JobRequest {
        job: None,
        node: "web-12".into(),
        work,
        idempotency_key: None,
        retry: None,
        timeout_seconds: None,
    }
}

fn deploy<S: Source + From<ImageUrl>>() -> Work<S> {
    let root_device = RootDeviceHints { serial: Some(SERIAL.into()), ..RootDeviceHints::default() };
    Work::Deploy(Box::new(DeploySpec {
        root_device: Some(root_device),
        ..DeploySpec::new(image_source().into(), checksum())
    }))
}

fn image_source() -> ImageUrl {
    "http://images.example/debian-12.qcow2".parse().expect("a URL that does not change")
}

fn checksum() -> Digest {
    Digest::Sha256(std::array::from_fn(|index| u8::try_from(index * 7 % 251).unwrap_or_default()))
}

pub(super) fn run_commands() -> Vec<Example<RunCommand>> {
    vec![example(
        "deploy",
        11,
        "/coordinator",
        JOB,
        RunCommand {
            reference: reference(),
            node: NodeId(NODE),
            boot_id: BootId(BOOT),
            expires_at: at(60),
            afterwards: Afterwards::PowerOff,
            work: deploy(),
        },
    )]
}

pub(super) fn cancel_commands() -> Vec<Example<CancelCommand>> {
    vec![example(
        "cancel",
        12,
        "/coordinator",
        JOB,
        CancelCommand {
            reference: reference(),
            node: NodeId(NODE),
            reason: "asked for by the operator".into(),
        },
    )]
}

pub(super) fn status_commands() -> Vec<Example<StatusCommand>> {
    vec![example("status", 13, "/coordinator", NODE, StatusCommand { node: NodeId(NODE) })]
}

pub(super) fn image_url_commands() -> Vec<Example<ImageUrlCommand>> {
    let command = |answer| ImageUrlCommand { reference: reference(), node: NodeId(NODE), answer };
    let made = FreshImageUrls::Made { image_source: image_source(), image_mirrors: Vec::new() };
    let gone =
        ErrorReport::new(ErrorCode::ImageNotFound, "the container images has no debian-12.qcow2 any more");
    vec![
        example("made", 14, "/coordinator", JOB, command(made)),
        example("not-made", 15, "/coordinator", JOB, command(FreshImageUrls::NotMade { error: gone })),
    ]
}

fn reference() -> CommandRef {
    CommandRef { job: JobId(JOB), command: CommandId(COMMAND), attempt: 1 }
}

fn origin() -> Origin {
    Origin { node: NodeId(NODE), site: "iad1".into(), rack: "r12".into(), boot_id: BootId(BOOT) }
}

/// Events of the agent have the node as their subject.
fn agent<T: Payload>(name: &'static str, number: u128, data: T) -> Example<T> {
    example(name, number, &format!("/agents/{NODE}"), NODE, data)
}

pub(super) fn hellos() -> Vec<Example<Hello>> {
    vec![agent(
        "hello",
        21,
        Hello {
            origin: origin(),
            hostname: "web-12".into(),
            version: "0.1.0".into(),
            started_at: at(-5),
            state: AgentState::Idle,
            running: None,
            verbs: Verb::ALL.to_vec(),
            ramdisk: true,
            can_power: true,
        },
    )]
}

pub(super) fn heartbeats() -> Vec<Example<Heartbeat>> {
    let idle = Heartbeat {
        origin: origin(),
        version: "0.1.0".into(),
        uptime_seconds: 3600,
        state: AgentState::Idle,
        running: None,
    };
    let running = Running { reference: reference(), verb: Verb::Deploy, progress: Some(step_progress()) };
    let busy = Heartbeat { state: AgentState::Busy, running: Some(running), ..idle.clone() };
    vec![agent("idle", 22, idle), agent("busy", 23, busy)]
}

fn step_progress() -> StepProgress {
    StepProgress {
        step: "write_image".into(),
        step_number: 2,
        step_count: 3,
        phase: Some("download".into()),
        bytes_done: GIB,
        bytes_total: Some(4 * GIB),
        bytes_per_second: GIB / 2,
        seconds_left: Some(6),
        image: None,
    }
}

pub(super) fn accepted() -> Vec<Example<Accepted>> {
    vec![agent("accepted", 24, Accepted { origin: origin(), reference: reference(), sequence: 1 })]
}

pub(super) fn progress() -> Vec<Example<Progress>> {
    vec![agent(
        "progress",
        25,
        Progress { origin: origin(), reference: reference(), sequence: 2, progress: step_progress() },
    )]
}

pub(super) fn results() -> Vec<Example<CommandResult>> {
    let deployed =
        succeeded(Output::Deploy(Box::new(deploy_report())), &["choose_root_device", "write_image"]);
    let mismatch = ErrorReport::new(
        ErrorCode::DigestMismatch,
        format!("the image from {} does not have the digest {}", image_source(), checksum()),
    );
    let failed = CommandResult {
        outcome: Outcome::Failed,
        error: Some(mismatch.clone()),
        steps: vec![StepReport { error: Some(mismatch), ..step("write_image", StepOutcome::Failed) }],
        output: None,
        ..deployed.clone()
    };
    let busy = ErrorReport::new(ErrorCode::Busy, "the agent is carrying out another command");
    let rejected = CommandResult {
        outcome: Outcome::Rejected,
        error: Some(busy),
        steps: Vec::new(),
        output: None,
        ..deployed.clone()
    };
    let inspected = succeeded(Output::Inventory(Box::new(inventory())), &["collect_inventory"]);
    let cleaned = succeeded(Output::Clean(clean_report()), &["erase_devices_metadata", "erase_devices"]);
    vec![
        agent("deploy", 31, deployed),
        agent("failed", 32, failed),
        agent("rejected", 33, rejected),
        agent("inspect", 34, inspected),
        agent("clean", 35, cleaned),
        agent("noop", 36, succeeded(Output::Noop {}, &["noop"])),
    ]
}

fn succeeded(output: Output, steps: &[&str]) -> CommandResult {
    CommandResult {
        origin: origin(),
        reference: reference(),
        sequence: 9,
        outcome: Outcome::Succeeded,
        error: None,
        started_at: at(-12),
        finished_at: at(0),
        steps: steps.iter().map(|name| step(name, StepOutcome::Succeeded)).collect(),
        output: Some(output),
    }
}

fn step(name: &str, outcome: StepOutcome) -> StepReport {
    StepReport { name: name.into(), outcome, seconds: 8.5, bytes: 4 * GIB, error: None }
}

fn identity() -> DiskIdentity {
    DiskIdentity {
        name: "/dev/nvme0n1".into(),
        size: 480 * GIB,
        serial: Some(SERIAL.into()),
        wwn: Some("eui.0025388b91b2e0a1".into()),
        by_path: Some("/dev/disk/by-path/pci-0000:01:00.0-nvme-1".into()),
    }
}

fn other_identity() -> DiskIdentity {
    DiskIdentity {
        name: "/dev/sda".into(),
        size: 240 * GIB,
        serial: Some("S3YKNB0K512345".into()),
        wwn: None,
        by_path: None,
    }
}

fn deploy_report() -> DeployReport {
    DeployReport {
        root_device: identity(),
        image_source: image_source().to_string(),
        image_format: "qcow2".into(),
        image_source_bytes: GIB,
        image_bytes: 4 * GIB,
        image_checksum: checksum(),
        bytes_per_second: GIB / 2,
        partitions: vec![Partition {
            number: 1,
            type_guid: "c12a7328-f81f-11d2-ba4b-00a0c93ec93b".into(),
            guid: "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6".into(),
            label: "esp".into(),
            start: 1 << 20,
            size: 512 << 20,
        }],
        partition_table_reread: true,
        duplicates: vec![Duplicate {
            kind: DuplicateKind::Label,
            value: "esp".into(),
            partition: Some(1),
            other_disk: other_identity(),
            other_partition: Some(1),
        }],
        unexamined: Vec::new(),
    }
}

fn clean_report() -> CleanReport {
    let erased = |step, method, bytes| EraseReport {
        step,
        device: identity(),
        method,
        tried: Vec::new(),
        bytes_erased: bytes,
        proof: EraseProof { bytes_verified: bytes, complete: true },
        seconds: 4.25,
    };
    CleanReport {
        devices: vec![
            erased(CleanStep::EraseDevicesMetadata, EraseMethod::Overwrite, 2 << 20),
            erased(CleanStep::EraseDevices, EraseMethod::Discard, 480 * GIB),
        ],
        skipped: Vec::new(),
    }
}

fn inventory() -> Inventory {
    Inventory {
        cpu: Cpu {
            model_name: Some("AMD EPYC 9354 32-Core Processor".into()),
            frequency: Some("3800.0000".into()),
            count: 64,
            architecture: "x86_64".into(),
            flags: vec!["fpu".into(), "aes".into(), "avx2".into()],
            socket_count: Some(1),
        },
        memory: Memory { total: 256 * GIB, physical_mb: Some(262_144) },
        disks: vec![Disk {
            name: identity().name,
            model: Some("SAMSUNG MZ1L2480".into()),
            size: identity().size,
            serial: identity().serial,
            wwn: identity().wwn,
            by_path: identity().by_path,
            logical_sectors: 512,
            physical_sectors: 4096,
            tran: Some("nvme".into()),
            ..Disk::default()
        }],
        interfaces: vec![Interface {
            name: "eno1".into(),
            mac_address: Some("b0:7b:25:c1:9a:02".into()),
            ipv4_address: Some("192.0.2.12".into()),
            has_carrier: true,
            vendor: Some("0x15b3".into()),
            product: Some("0x101d".into()),
            speed_mbps: Some(25_000),
            pci_address: Some("0000:21:00.0".into()),
            driver: Some("mlx5_core".into()),
            ..Interface::default()
        }],
        system_vendor: SystemVendor {
            product_name: Some("PowerEdge R6615".into()),
            serial_number: Some("5B3N8Y3".into()),
            manufacturer: Some("Dell Inc.".into()),
            firmware: Firmware {
                vendor: Some("Dell Inc.".into()),
                version: Some("1.8.3".into()),
                build_date: Some("04/11/2025".into()),
            },
        },
        boot: Boot { current_boot_mode: "uefi".into(), pxe_interface: Some("b0:7b:25:c1:9a:02".into()) },
        hostname: "web-12".into(),
    }
}

pub(super) fn logs() -> Vec<Example<Log>> {
    vec![agent(
        "log",
        26,
        Log {
            origin: origin(),
            level: "warn".into(),
            message: "the disk /dev/nvme0n1 does not discard: zeros are written over it".into(),
            command: Some(reference()),
        },
    )]
}

pub(super) fn image_urls_wanted() -> Vec<Example<ImageUrlWanted>> {
    vec![agent(
        "image-url-wanted",
        27,
        ImageUrlWanted {
            origin: origin(),
            reference: reference(),
            sequence: 3,
            image_source: image_source().to_string(),
            status: 401,
        },
    )]
}

pub(super) fn job_changes() -> Vec<Example<JobChanged>> {
    let running = JobChanged {
        job: JobId(JOB),
        node: NodeId(NODE),
        verb: Verb::Deploy,
        state: JobState::Running,
        attempt: 1,
        error: None,
    };
    let failed = JobChanged {
        state: JobState::Failed,
        error: Some(ErrorReport::new(ErrorCode::ImageTooLarge, "the image is larger than the disk")),
        ..running.clone()
    };
    vec![
        example("running", 41, "/coordinator", JOB, running),
        example("failed", 42, "/coordinator", JOB, failed),
    ]
}
