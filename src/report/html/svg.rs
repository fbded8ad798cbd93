//! A small drawing surface: axes with round ticks, and curves within them.

use std::fmt::Write;

use crate::frame::printable;

/// From values to places along one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) logarithmic: bool,
}

/// A plot with its axes.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) x: Scale,
    pub(super) y: Scale,
    width: f64,
    height: f64,
    body: String,
}

/// How a dot looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Full,
    Hollow,
}

const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 24.0;
const BOTTOM: f64 = 34.0;

impl Scale {
    pub(super) fn linear(from: f64, to: f64) -> Self {
        Self { from, to: if to > from { to } else { from + 1.0 }, logarithmic: false }
    }

    /// `from` above 0.
    pub(super) fn logarithmic(from: f64, to: f64) -> Self {
        let from = from.max(0.01);
        Self { from, to: to.max(from * 2.0), logarithmic: true }
    }

    /// Where a value lies, from 0 to 1; values outside are at the edges.
    fn place(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        share.clamp(0.0, 1.0)
    }

    /// Round values along the axis.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let first = self.from.log10().floor() as i32;
            let decades = (self.to / self.from).log10();
            let steps: &[f64] = match decades {
                wide if wide > 2.2 => &[1.0, 3.0],
                narrow if narrow < 0.9 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
                _ => &[1.0, 2.0, 5.0],
            };
            let all = (first..first + 9)
                .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)));
            return all.filter(|tick| (self.from..=self.to).contains(tick)).collect();
        }
        let step = round_step((self.to - self.from) / 5.5);
        let first = (self.from / step).ceil() as i64;
        let ticks = (first..first + 12).map(|number| number as f64 * step);
        ticks.take_while(|tick| *tick <= self.to * (1.0 + 1e-9)).collect()
    }
}

/// 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.max(1e-9).log10().floor());
    let factor = match step / power {
        share if share <= 1.0 => 1.0,
        share if share <= 2.0 => 2.0,
        share if share <= 5.0 => 5.0,
        _ => 10.0,
    };
    factor * power
}

impl Plot {
    pub(super) fn new(width: f64, height: f64, x: Scale, y: Scale, title: &str) -> Self {
        let mut body = String::new();
        // The left half is its own; a character of it is about 7 wide.
        let shown = escape(&shortened(title, ((width - LEFT) / 2.0 / 7.0) as usize));
        let _ = write!(body, r#"<text class="title" x="{LEFT}" y="14">{shown}</text>"#);
        Self { x, y, width, height, body }
    }

    /// Ticks of both axes, the name of the one below and the unit of the one at the left.
    pub(super) fn axes(&mut self, x_name: &str, y_unit: &str) {
        let (bottom, right) = (self.height - BOTTOM, self.width - RIGHT);
        for tick in self.y.ticks() {
            let y = self.at_y(tick);
            let _ = write!(
                self.body,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 5.0,
                y + 3.5,
                number(tick)
            );
        }
        for tick in self.x.ticks() {
            let x = self.at_x(tick);
            let _ = write!(
                self.body,
                r#"<line class="axis" x1="{x:.1}" x2="{x:.1}" y1="{bottom}" y2="{:.1}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                bottom + 4.0,
                bottom + 15.0,
                number(tick)
            );
        }
        let _ = write!(
            self.body,
            r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/><text x="{right}" y="{:.1}" text-anchor="end">{x_name}</text><text x="{:.1}" y="14" text-anchor="end">{y_unit}</text>"#,
            self.height - 5.0,
            LEFT - 5.0
        );
    }

    /// A line through points; those outside run along the edge.
    pub(super) fn line(&mut self, points: &[(f64, f64)], class: &str, colour: Option<&str>) {
        let mut path = String::new();
        for (x, y) in points {
            let command = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{command}{:.1} {:.1}", self.at_x(*x), self.at_y(*y));
        }
        let style = colour.map(|colour| format!(r#" style="stroke:var(--{colour})""#));
        let style = style.unwrap_or_default();
        let _ = write!(self.body, r#"<path class="{class}"{style} d="{path}"/>"#);
    }

    /// A dot.
    pub(super) fn dot(&mut self, x: f64, y: f64, mark: Mark, colour: &str) {
        let (x, y) = (self.at_x(x), self.at_y(y));
        let _ = match mark {
            Mark::Full => write!(
                self.body,
                r#"<circle style="fill:var(--{colour})" cx="{x:.1}" cy="{y:.1}" r="2.1"/>"#
            ),
            Mark::Hollow => write!(
                self.body,
                r#"<circle class="hollow" style="stroke:var(--{colour})" cx="{x:.1}" cy="{y:.1}" r="1.8"/>"#
            ),
        };
    }

    /// A short text above, in the right half.
    pub(super) fn remark(&mut self, text: &str) {
        let right = self.width - RIGHT;
        let text = escape(text);
        let _ = write!(
            self.body,
            r#"<text class="value" x="{right}" y="14" text-anchor="end">{text}</text>"#
        );
    }

    /// The drawing; `label` is for those who cannot see it.
    pub(super) fn finish(self, label: &str) -> String {
        let Self { width, height, body, .. } = self;
        let label = escape(label);
        format!(
            r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{body}</svg>"#
        )
    }

    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.width - LEFT - RIGHT)
    }

    fn at_y(&self, value: f64) -> f64 {
        let bottom = self.height - BOTTOM;
        bottom - self.y.place(value) * (bottom - TOP)
    }
}

/// A number as briefly as it can be written.
pub(super) fn number(value: f64) -> String {
    if value.abs() >= 10_000.0 && value % 1_000.0 == 0.0 {
        return format!("{}k", value / 1_000.0);
    }
    format!("{value:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A text's first characters, and a mark where there are more.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most.saturating_sub(1)).collect();
    short.push('\u{2026}');
    short
}

/// Text that HTML takes as text, in an element as well as in an attribute. Control characters, which
/// a reason may have from elsewhere, are shown as escapes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear(0.0, 100.0).ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(Scale::linear(0.0, 2.47).ticks(), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(Scale::logarithmic(20.0, 600.0).ticks(), [20.0, 50.0, 100.0, 200.0, 500.0]);
    }

    #[test]
    fn a_long_title_ends_before_the_remark() {
        assert_eq!(shortened("thermal", 7), "thermal");
        assert_eq!(shortened("thermal-left", 7), "therma\u{2026}");
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let plot = Plot::new(300.0, 200.0, Scale::linear(0.0, 1.0), Scale::linear(0.0, 1.0), "<a>");
        let svg = plot.finish("\"><script>");
        assert!(!svg.contains("<script>") && svg.contains("&lt;a&gt;"), "{svg}");
        assert_eq!(escape("a|b'c & \"d\"\u{7}"), "a|b&#39;c &amp; &quot;d&quot;\\u{7}");
    }
}
