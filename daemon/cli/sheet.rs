//! Text for people that grows by lines, at 80 columns.
//!
//! In: facts. Out: lines. Must not: know what they are about.

use super::text::wrap;

/// How wide the names of facts are, with what stands before and after them.
pub(super) const LABEL: usize = 13;

/// A sheet of lines.
#[derive(Default)]
pub(super) struct Sheet {
    lines: Vec<String>,
}

impl Sheet {
    /// A line as it is.
    pub(super) fn line(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// An empty line.
    pub(super) fn blank(&mut self) {
        self.line("");
    }

    /// A paragraph that begins at the margin.
    pub(super) fn paragraph(&mut self, text: &str) {
        self.line(wrap(text, ""));
    }

    /// The same, indented.
    pub(super) fn indented(&mut self, text: &str) {
        self.line(wrap(text, "  "));
    }

    /// A fact with its name; continued lines stand below the fact.
    pub(super) fn fact(&mut self, label: &str, text: &str) {
        self.fact_at(LABEL, label, text);
    }

    /// The same where names are as wide as that.
    pub(super) fn fact_at(&mut self, width: usize, label: &str, text: &str) {
        let wrapped = wrap(text, &" ".repeat(width));
        let label = format!("  {label:<width$}", width = width - 2);
        match wrapped.strip_prefix(&" ".repeat(width)) {
            Some(rest) => self.line(format!("{label}{rest}")),
            // It begins with a word that has no room beside the name.
            None => self.line(format!("{}\n{wrapped}", label.trim_end()).trim_end()),
        }
    }

    /// The whole.
    pub(super) fn text(self) -> String {
        self.lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_stands_beside_its_name_or_below_it() {
        let mut sheet = Sheet::default();
        sheet.fact("remote", &"word ".repeat(20));
        sheet.fact("", "more");
        sheet.fact("path", &format!("{} is long", "x".repeat(70)));
        sheet.fact("nothing", "");
        assert_eq!(
            sheet.text(),
            format!(
                "  remote     {}\n             {}\n             more\n  path\n          {}\n             \
                 is long\n  nothing",
                ["word"; 13].join(" "),
                ["word"; 7].join(" "),
                "x".repeat(70),
            )
        );
    }
}
