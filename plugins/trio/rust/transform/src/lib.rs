//! The transform of the trio: the same as in `go/` and `python/`, byte for byte. Its configuration says which of four it is.

mod documents;
mod echo;
mod labels;
mod lists;
mod turned;

use serde::Deserialize;
use tidemill_sdk::{Batch, Config, Error, Failure, Transform, TransformPlan, Transformed};

use crate::documents::Documents;
use crate::labels::Label;
use crate::lists::Lists;
use crate::turned::Turned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    kind: Kind,
    labels: Option<labels::Settings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Labels,
    Lists,
    Turned,
    Documents,
}

pub enum Trio {
    Labels(Label),
    Lists(Lists),
    Turned(Turned),
    Documents(Documents),
}

impl Transform for Trio {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Trio, Error> {
        let settings: Settings = config.read()?;
        match settings.kind {
            Kind::Labels => {
                let settings = settings.labels.ok_or("`labels` is missing")?;
                Label::open(settings, plan).map(Trio::Labels)
            }
            Kind::Lists => Lists::open(plan).map(Trio::Lists),
            Kind::Turned => Turned::open(plan).map(Trio::Turned),
            Kind::Documents => Documents::open(plan).map(Trio::Documents),
        }
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        match self {
            Trio::Labels(of) => of.process(batch),
            Trio::Lists(of) => of.process(batch),
            Trio::Turned(of) => of.process(batch),
            Trio::Documents(of) => of.process(batch),
        }
    }
}

tidemill_sdk::transform!(Trio);
