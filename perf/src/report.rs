//! What a scenario found: rows of figures, and targets.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::machine;

/// Why there is no report.
pub(crate) enum Unmeasured {
    /// Something is missing that this machine need not have.
    Skipped(String),
    Failed(String),
}

/// What went wrong is a failure, unless somebody says otherwise.
impl From<String> for Unmeasured {
    fn from(problem: String) -> Self {
        Self::Failed(problem)
    }
}

/// One scenario's figures.
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// What the figures are, in a line.
    pub(crate) about: String,
    /// Packages whose versions matter.
    pub(crate) packages: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
    pub(crate) targets: Vec<Target>,
    /// Further fields of the JSON.
    pub(crate) totals: Option<Map<String, Value>>,
}

/// One contender's figures, in the order of the table's columns.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) figures: Vec<(&'static str, f64)>,
}

/// A figure that is to be reached.
pub(crate) struct Target {
    pub(crate) name: String,
    /// Not a number where nothing could be measured: that is a miss.
    pub(crate) value: f64,
    pub(crate) bound: Bound,
}

pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn at_most(name: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { name: name.into(), value, bound: Bound::AtMost(bound) }
    }

    pub(crate) fn at_least(name: impl Into<String>, value: f64, bound: f64) -> Self {
        Self { name: name.into(), value, bound: Bound::AtLeast(bound) }
    }

    pub(crate) fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => self.value >= bound,
            Bound::AtMost(bound) => self.value <= bound,
        }
    }
}

impl Report {
    pub(crate) fn is_met(&self) -> bool {
        self.targets.iter().all(Target::is_met)
    }

    pub(crate) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            let mut object = Map::new();
            object.insert("name".into(), row.name.clone().into());
            object.extend(row.figures.iter().map(|(name, figure)| ((*name).to_owned(), rounded(*figure))));
            Value::Object(object)
        };
        let target = |target: &Target| {
            let (word, bound) = match target.bound {
                Bound::AtLeast(bound) => ("at_least", bound),
                Bound::AtMost(bound) => ("at_most", bound),
            };
            json!({"name": target.name, "value": rounded(target.value), word: bound, "ok": target.is_met()})
        };
        let mut whole = json!({
            "scenario": self.scenario,
            "about": self.about,
            "machine": machine::machine(),
            "versions": machine::versions(self.packages),
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
        });
        if let Value::Object(whole) = &mut whole {
            whole.extend(self.totals.clone().unwrap_or_default());
        }
        whole
    }
}

fn rounded(figure: f64) -> Value {
    json!((figure * 1000.0).round() / 1000.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}\n", self.scenario, self.about)?;
        let wide = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let mut columns = Vec::new();
        for row in &self.rows {
            let own: Vec<_> = row.figures.iter().map(|(name, _)| *name).collect();
            if own != columns {
                write!(f, "  {:wide$}", "")?;
                own.iter().try_for_each(|name| write!(f, "  {name:>12}"))?;
                writeln!(f)?;
                columns = own;
            }
            write!(f, "  {:wide$}", row.name)?;
            for (name, figure) in &row.figures {
                let figure = if figure.is_nan() { "–".to_owned() } else { format!("{figure:.2}") };
                write!(f, "  {figure:>width$}", width = name.len().max(12))?;
            }
            writeln!(f)?;
        }
        writeln!(f)?;
        for target in &self.targets {
            let (word, bound) = match target.bound {
                Bound::AtLeast(bound) => ("at least", bound),
                Bound::AtMost(bound) => ("at most", bound),
            };
            let verdict = if target.is_met() { "ok" } else { "MISSED" };
            let value = if target.value.is_nan() { "not measured".to_owned() } else { format!("{:.2}", target.value) };
            writeln!(f, "  {verdict:6}  {}: {value}, {word} {bound}", target.name)?;
        }
        Ok(())
    }
}
