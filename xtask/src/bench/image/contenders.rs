//! Who writes the images, and how.
//!
//! Each is a script for bash that knows `$URL`, `$SHA256` (in hex), `$DEVICE`, `$BMAP`, and an empty directory on a tmpfs that
//! it runs in, `$TMPDIR`; and `$FARRIER`, `$STAGE`, `$IPA` (interpreter and driver), `$IMAGE` and `$REFERENCE` (`file` URLs). Each
//! ends when everything is on the disk.

use super::images::Case;

/// Somebody who writes images, or a stage of Farrier's pipeline alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) does: Does,
    /// The programs that it needs.
    pub(super) needs: &'static [&'static str],
    takes: fn(Case) -> bool,
    pub(super) script: &'static str,
}

/// How much of the work a contender does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// All of it, from the URL to the disk.
    All,
    /// A stage that writes nothing. It prints the seconds that it took.
    Stage,
    /// The stage that writes to the disk. It prints the seconds that it took.
    Write,
}

impl Contender {
    pub(super) fn takes(&self, case: Case) -> bool {
        (self.takes)(case)
    }

    pub(super) fn is_stage(&self) -> bool {
        self.does != Does::All
    }

    pub(super) fn writes(&self) -> bool {
        self.does != Does::Stage
    }
}

pub(super) const FARRIER: &str = "farrier";
pub(super) const IPA: &str = "ironic-python-agent";
pub(super) const CONVERT: &str = "curl, qemu-img convert";
pub(super) const ZSTD_DD: &str = "curl | zstd | dd";

/// What `needs` calls ironic-python-agent, which is no program on the path.
pub(super) const NEEDS_IPA: &str = "ironic-python-agent";

pub(super) const CONTENDERS: &[Contender] = &[
    Contender {
        name: FARRIER,
        does: Does::All,
        needs: &[],
        takes: |_| true,
        script: r#"exec "$FARRIER" run deploy --lab-disk "$DEVICE" --image-source "$URL" --image-checksum "sha256:$SHA256""#,
    },
    Contender {
        name: IPA,
        does: Does::All,
        needs: &[NEEDS_IPA],
        takes: Case::is_raw,
        script: r#"exec $IPA stream "$URL" "$SHA256" "$DEVICE""#,
    },
    Contender {
        name: IPA,
        does: Does::All,
        needs: &[NEEDS_IPA, "qemu-img"],
        takes: |case| case == Case::Qcow2,
        script: r#"exec $IPA convert "$URL" "$SHA256" "$DEVICE""#,
    },
    Contender {
        name: "curl | dd",
        does: Does::All,
        needs: &["curl"],
        takes: Case::is_raw,
        script: r#"curl -sSf "$URL" | dd of="$DEVICE" bs=4M iflag=fullblock oflag=direct conv=fsync status=none"#,
    },
    Contender {
        name: "curl | tee sha256sum | dd",
        does: Does::All,
        needs: &["curl"],
        takes: |case| case == Case::Dense,
        script: r#"mkfifo copy
sha256sum <copy >digest &
curl -sSf "$URL" | tee copy | dd of="$DEVICE" bs=4M iflag=fullblock oflag=direct conv=fsync status=none
wait $!
grep -q "$SHA256" digest"#,
    },
    Contender {
        name: "bmaptool copy",
        does: Does::All,
        needs: &["bmaptool"],
        takes: |case| case == Case::Sparse,
        script: r#"exec bmaptool copy --bmap "$BMAP" "$URL" "$DEVICE""#,
    },
    Contender {
        name: "blkdiscard -z, bmaptool copy",
        does: Does::All,
        needs: &["bmaptool", "blkdiscard"],
        takes: |case| case == Case::Sparse,
        script: r#"blkdiscard --force --zeroout "$DEVICE"
exec bmaptool copy --bmap "$BMAP" "$URL" "$DEVICE""#,
    },
    Contender {
        name: CONVERT,
        does: Does::All,
        needs: &["curl", "qemu-img"],
        takes: Case::is_qcow2,
        script: r#"curl -sSf "$URL" -o image
exec qemu-img convert -n -t none -W -f qcow2 -O host_device image "$DEVICE""#,
    },
    Contender {
        name: "curl, sha256sum, qemu-img convert",
        does: Does::All,
        needs: &["curl", "qemu-img"],
        takes: |case| case == Case::Qcow2,
        script: r#"curl -sSf "$URL" -o image
echo "$SHA256  image" | sha256sum --check --status
exec qemu-img convert -n -t none -W -f qcow2 -O host_device image "$DEVICE""#,
    },
    Contender {
        name: ZSTD_DD,
        does: Does::All,
        needs: &["curl", "zstd"],
        takes: |case| case == Case::Zstd,
        script: r#"curl -sSf "$URL" | zstd -dcq | dd of="$DEVICE" bs=4M iflag=fullblock oflag=direct conv=fsync status=none"#,
    },
    Contender {
        name: "curl | gzip | dd",
        does: Does::All,
        needs: &["curl", "gzip"],
        takes: |case| case == Case::Gzip,
        script: r#"curl -sSf "$URL" | gzip -dc | dd of="$DEVICE" bs=4M iflag=fullblock oflag=direct conv=fsync status=none"#,
    },
    Contender {
        name: "stage download",
        does: Does::Stage,
        needs: &[],
        takes: |_| true,
        script: r#"exec "$STAGE" download "$URL""#,
    },
    Contender {
        name: "stage digest",
        does: Does::Stage,
        needs: &[],
        takes: |_| true,
        script: r#"exec "$STAGE" digest "$IMAGE""#,
    },
    Contender {
        name: "stage decode",
        does: Does::Stage,
        needs: &[],
        takes: |case| !case.is_raw(),
        script: r#"exec "$STAGE" decode "$IMAGE""#,
    },
    Contender {
        name: "stage write",
        does: Does::Write,
        needs: &[],
        // All others are of one and the same raw image.
        takes: |case| case.is_raw() || case == Case::Qcow2,
        script: r#"exec "$STAGE" write "$REFERENCE" "$DEVICE""#,
    },
];
