//! What Prometheus reads: the text exposition format, version 0.0.4.

use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};

use super::Error;

/// The media type of the text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Figures that are read when somebody asks, not counted all along.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name, with its unit.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// What may become of it.
    pub kind: Kind,
    /// The name of its label, if it has one.
    pub label: Option<&'static str>,
    /// The label's value, and the figure; none where it cannot be read: no zero stands for that.
    pub values: Vec<(&'static str, f64)>,
}

/// What may become of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only goes up, while the process lives.
    Counter,
}

impl Family {
    /// One figure, where there is one.
    pub fn one(kind: Kind, name: &'static str, help: &'static str, value: Option<f64>) -> Family {
        let values = value.into_iter().map(|value| ("", value)).collect();
        Family { name, help, kind, label: None, values }
    }

    /// Figures by `label`.
    pub fn by(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, f64)>,
    ) -> Family {
        Family { name, help, kind, label: Some(label), values: values.into_iter().collect() }
    }

    /// Puts it into `registry` as it is now.
    fn register(&self, registry: &Registry) -> Result<(), Error> {
        let labels: Vec<&str> = self.label.into_iter().collect();
        let opts = Opts::new(self.name, self.help);
        let value_of = |label: &'static str| -> Vec<&str> { labels.iter().map(|_| label).collect() };
        match self.kind {
            Kind::Gauge => {
                let family = super::register(registry, GaugeVec::new(opts, &labels))?;
                for (label, value) in &self.values {
                    family.get_metric_with_label_values(&value_of(label))?.set(*value);
                }
            }
            Kind::Counter => {
                let family = super::register(registry, CounterVec::new(opts, &labels))?;
                for (label, value) in &self.values {
                    family.get_metric_with_label_values(&value_of(label))?.inc_by(*value);
                }
            }
        }
        Ok(())
    }
}

/// The text of `counted`, and of `more`.
pub(super) fn write(counted: Vec<MetricFamily>, more: &[Family]) -> Result<String, Error> {
    // One for this answer: it sorts, leaves out what has no figure, and takes no name twice.
    let registry = Registry::new();
    for family in more {
        family.register(&registry)?;
    }
    let mut families = counted;
    families.extend(registry.gather());
    TextEncoder::new().encode_to_string(&families)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let families = [
            Family::one(Kind::Gauge, "omnimind_a_bytes", "A.", Some(1.5)),
            Family::one(Kind::Gauge, "omnimind_b_bytes", "B.", None),
            Family::by(Kind::Counter, "omnimind_c_total", "C.", "of", [("x", 1.0), ("y", 2.0)]),
        ];
        let text = write(Vec::new(), &families).unwrap();
        let twice = [families[0].clone(), families[0].clone()];
        assert!(write(Vec::new(), &twice).is_err(), "a name comes once");
        let expected = "# HELP omnimind_a_bytes A.\n# TYPE omnimind_a_bytes gauge\nomnimind_a_bytes 1.5\n\
                        # HELP omnimind_c_total C.\n# TYPE omnimind_c_total counter\n\
                        omnimind_c_total{of=\"x\"} 1\nomnimind_c_total{of=\"y\"} 2\n";
        assert_eq!(text, expected);
    }
}
