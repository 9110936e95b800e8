//! What came out of a command, for people: shared by `farrier job show` and `farrier run`.

use farrier::wire::inventory::Inventory;
use farrier::wire::report::{
    CleanReport, DeployReport, DiskIdentity, EraseMethod, Output, StepOutcome, StepReport,
};

use super::output::{bytes, or_dash, table, table_text};

pub(crate) fn steps_text(steps: &[StepReport]) -> String {
    let mut rows = table(&["STEP", "OUTCOME", "TOOK", "BYTES", "ERROR"]);
    for step in steps {
        rows.add_row([
            step.name.clone(),
            step_outcome_text(step.outcome).to_owned(),
            format!("{:.1}s", step.seconds),
            bytes(step.bytes),
            or_dash(step.error.as_ref().map(|error| error.code)),
        ]);
    }
    table_text(&rows)
}

fn step_outcome_text(outcome: StepOutcome) -> &'static str {
    match outcome {
        StepOutcome::Succeeded => "succeeded",
        StepOutcome::Failed => "failed",
        StepOutcome::Cancelled => "cancelled",
        StepOutcome::Unknown => "unknown",
    }
}

pub(crate) fn output_text(output: &Output) -> String {
    match output {
        Output::Inventory(inventory) => inventory_text(inventory),
        Output::Clean(report) => clean_text(report),
        Output::Deploy(report) => deploy_text(report),
        Output::Noop {} => "nothing was to be done".to_owned(),
    }
}

pub(crate) fn inventory_text(inventory: &Inventory) -> String {
    let Inventory { cpu, memory, system_vendor, boot, .. } = inventory;
    let mut facts = table(&["FIELD", "VALUE"]);
    let mut row = |field: &str, value: String| {
        facts.add_row([field.to_owned(), value]);
    };
    row("hostname", inventory.hostname.clone());
    row("manufacturer", or_dash(system_vendor.manufacturer.as_ref()));
    row("product", or_dash(system_vendor.product_name.as_ref()));
    row("serial number", or_dash(system_vendor.serial_number.as_ref()));
    row("firmware", or_dash(system_vendor.firmware.version.as_ref()));
    row("boot mode", boot.current_boot_mode.clone());
    row("cpu", format!("{} x {} ({})", cpu.count, or_dash(cpu.model_name.as_ref()), cpu.architecture));
    row("memory", bytes(memory.total));
    let mut disks = table(&["DISK", "SIZE", "MODEL", "SERIAL", "WWN", "TRANSPORT"]);
    for disk in &inventory.disks {
        disks.add_row([
            disk.name.clone(),
            bytes(disk.size),
            or_dash(disk.model.as_ref()),
            or_dash(disk.serial.as_ref()),
            or_dash(disk.wwn.as_ref()),
            or_dash(disk.tran.as_ref()),
        ]);
    }
    let mut interfaces = table(&["INTERFACE", "MAC ADDRESS", "IPV4", "CARRIER", "SPEED", "DRIVER"]);
    for interface in &inventory.interfaces {
        interfaces.add_row([
            interface.name.clone(),
            or_dash(interface.mac_address.as_ref()),
            or_dash(interface.ipv4_address.as_ref()),
            if interface.has_carrier { "yes" } else { "no" }.to_owned(),
            or_dash(interface.speed_mbps.map(|speed| format!("{speed} Mbit/s"))),
            or_dash(interface.driver.as_ref()),
        ]);
    }
    [facts, disks, interfaces].map(|table| table_text(&table)).join("\n\n")
}

fn clean_text(report: &CleanReport) -> String {
    let mut rows = table(&["DISK", "SERIAL", "STEP", "METHOD", "ERASED", "READ BACK AS ZERO"]);
    for erased in &report.devices {
        let proof = if erased.proof.complete { "all" } else { "a part" };
        rows.add_row([
            erased.device.name.clone(),
            or_dash(erased.device.serial.as_ref()),
            or_dash(serde_json::to_value(erased.step).ok().as_ref().and_then(|step| step.as_str())),
            method_text(erased.method).to_owned(),
            bytes(erased.bytes_erased),
            format!("{} ({proof})", bytes(erased.proof.bytes_verified)),
        ]);
    }
    let mut text = table_text(&rows);
    for disk in &report.skipped {
        text.push_str(&format!("\nleft alone: {}", disk_text(disk)));
    }
    text
}

fn method_text(method: EraseMethod) -> &'static str {
    match method {
        EraseMethod::Discard => "discard",
        EraseMethod::ZeroOut => "zero_out",
        EraseMethod::Overwrite => "overwrite",
        EraseMethod::Unknown => "unknown",
    }
}

fn deploy_text(report: &DeployReport) -> String {
    let mut rows = table(&["FIELD", "VALUE"]);
    rows.add_row(["root device".to_owned(), disk_text(&report.root_device)]);
    rows.add_row(["image".to_owned(), format!("{} ({})", report.image_source, report.image_format)]);
    rows.add_row(["checksum".to_owned(), report.image_checksum.to_string()]);
    rows.add_row(["received".to_owned(), bytes(report.image_source_bytes)]);
    rows.add_row([
        "written".to_owned(),
        format!("{} at {}/s", bytes(report.image_bytes), bytes(report.bytes_per_second)),
    ]);
    for partition in &report.partitions {
        rows.add_row([
            format!("partition {}", partition.number),
            format!("{} {:?} at {}", bytes(partition.size), partition.label, partition.start),
        ]);
    }
    for duplicate in &report.duplicates {
        rows.add_row([
            "duplicate".to_owned(),
            format!("{} {} is on {} too", duplicate.kind, duplicate.value, disk_text(&duplicate.other_disk)),
        ]);
    }
    for unexamined in &report.unexamined {
        rows.add_row([
            "not searched for duplicates".to_owned(),
            format!("{}: {}", disk_text(&unexamined.disk), unexamined.error.message),
        ]);
    }
    table_text(&rows)
}

fn disk_text(disk: &DiskIdentity) -> String {
    match &disk.serial {
        Some(serial) => format!("{} ({}, serial {serial})", disk.name, bytes(disk.size)),
        None => format!("{} ({})", disk.name, bytes(disk.size)),
    }
}
