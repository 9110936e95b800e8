//! How far jobs are: bars on a terminal, plain lines off it, always on standard error.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::text::{bytes, seconds};
use crate::wire::StepProgress;

/// How often a plain line is repeated while nothing but the count of bytes changes.
const REPEAT_EVERY: Duration = Duration::from_secs(10);
const BAR: &str = "{prefix} [{bar:16}] {wide_msg}";
const NO_BAR: &str = "{prefix} [----------------] {wide_msg}";

/// A line for each job.
#[derive(Debug)]
pub struct Board {
    form: Form,
    rows: HashMap<String, Row>,
    label_width: usize,
}

#[derive(Debug)]
enum Form {
    Bars(MultiProgress),
    Lines,
    Silent,
}

#[derive(Debug)]
struct Row {
    bar: ProgressBar,
    /// What was last said, without the count of bytes.
    said: String,
    said_at: Instant,
}

impl Board {
    /// A board for jobs with these labels. A silent one shows nothing: programs read JSON.
    #[must_use]
    pub fn new<'a>(silent: bool, labels: impl IntoIterator<Item = &'a str>) -> Self {
        let form = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Form::Silent,
            (false, true) => Form::Bars(MultiProgress::new()),
            (false, false) => Form::Lines,
        };
        let label_width = labels.into_iter().map(|label| label.chars().count()).max().unwrap_or(0);
        Self { form, rows: HashMap::new(), label_width }
    }

    /// Shows how far a step is.
    pub fn progress(&mut self, label: &str, progress: &StepProgress) {
        let said = format!("{}{:?}", progress.step, progress.phase);
        self.show(label, said, &progress_text(progress), Some(progress));
    }

    /// Shows a state that has no count.
    pub fn state(&mut self, label: &str, text: &str) {
        self.show(label, text.to_owned(), text, None);
    }

    /// Says something beside the rows.
    pub fn note(&self, text: &str) {
        match &self.form {
            Form::Bars(bars) => drop(bars.println(text)),
            Form::Lines => eprintln!("{text}"),
            Form::Silent => {}
        }
    }

    /// Takes the bars away, for what follows says more.
    pub fn clear(&self) {
        if let Form::Bars(bars) = &self.form {
            // A terminal that cannot be cleared has lost nothing but its looks.
            drop(bars.clear());
        }
    }

    fn show(&mut self, label: &str, said: String, text: &str, progress: Option<&StepProgress>) {
        let width = self.label_width;
        match &self.form {
            Form::Silent => {}
            Form::Bars(bars) => {
                let row = self.rows.entry(label.to_owned()).or_insert_with(|| {
                    Row::new(bars.add(ProgressBar::new(1)).with_prefix(format!("{label:width$}")))
                });
                row.draw(text, progress);
            }
            Form::Lines => {
                let row =
                    self.rows.entry(label.to_owned()).or_insert_with(|| Row::new(ProgressBar::hidden()));
                if row.said != said || row.said_at.elapsed() >= REPEAT_EVERY {
                    eprintln!("{label:width$} {text}");
                    row.said = said;
                    row.said_at = Instant::now();
                }
            }
        }
    }
}

impl Row {
    fn new(bar: ProgressBar) -> Self {
        Self { bar, said: String::new(), said_at: Instant::now() }
    }

    fn draw(&mut self, text: &str, progress: Option<&StepProgress>) {
        let total = progress.and_then(|progress| progress.bytes_total);
        let template = if total.is_some() { BAR } else { NO_BAR };
        if self.said != template {
            // The templates are constant and right: a test sees to it.
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            template.clone_into(&mut self.said);
        }
        if let (Some(progress), Some(total)) = (progress, total) {
            self.bar.set_length(total);
            self.bar.set_position(progress.bytes_done);
        }
        self.bar.set_message(text.to_owned());
    }
}

/// How far a step is, in words, what matters most first: a narrow terminal cuts the end off.
#[must_use]
pub fn progress_text(progress: &StepProgress) -> String {
    let StepProgress { step, step_number, step_count, bytes_done, .. } = progress;
    let mut text = format!("{step_number}/{step_count} {step}");
    if let Some(phase) = &progress.phase {
        text.push(' ');
        text.push_str(phase);
    }
    let mut facts = Vec::new();
    if let Some(percent) =
        progress.bytes_total.and_then(|total| bytes_done.saturating_mul(100).checked_div(total))
    {
        facts.push(format!("{percent}%"));
    }
    if progress.bytes_per_second > 0 {
        facts.push(format!("{}/s", bytes(progress.bytes_per_second)));
    }
    if let Some(left) = progress.seconds_left {
        facts.push(format!("{} left", seconds(left)));
    }
    match progress.bytes_total {
        Some(total) => facts.push(format!("{} of {}", bytes(*bytes_done), bytes(total))),
        None if *bytes_done > 0 => facts.push(bytes(*bytes_done)),
        None => {}
    }
    if !facts.is_empty() {
        text.push_str(": ");
        text.push_str(&facts.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_how_far_a_step_is() {
        let mut progress = StepProgress {
            step: "write_image".into(),
            step_number: 2,
            step_count: 3,
            phase: Some("download".into()),
            bytes_done: 1 << 20,
            bytes_total: Some(4 << 20),
            bytes_per_second: 1 << 19,
            seconds_left: Some(6),
            image: None,
        };
        assert_eq!(
            progress_text(&progress),
            "2/3 write_image download: 25%, 512.00 KiB/s, 6s left, 1.00 MiB of 4.00 MiB"
        );
        progress.bytes_total = None;
        progress.seconds_left = None;
        progress.bytes_per_second = 0;
        assert_eq!(progress_text(&progress), "2/3 write_image download: 1.00 MiB");
    }

    #[test]
    fn the_templates_are_right() {
        assert!(ProgressStyle::with_template(BAR).is_ok() && ProgressStyle::with_template(NO_BAR).is_ok());
    }
}
