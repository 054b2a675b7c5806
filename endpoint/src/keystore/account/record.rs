//! What stands in the files of rotations.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::account::{Phase, Rotation, Statement};
use crate::identity::Identity;
use crate::keystore::record::{Hex32, HexBytes, VERSION};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::keystore) struct RotationRecord {
    version: u32,
    statement: HexBytes,
    secret: Hex32,
    phase: PhaseRecord,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PhaseRecord {
    Prepared,
    Registered,
    Switched,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::keystore) struct SupersededRecord {
    version: u32,
    statement: HexBytes,
}

impl From<&Rotation> for RotationRecord {
    fn from(rotation: &Rotation) -> Self {
        Self {
            version: VERSION,
            statement: HexBytes(Zeroizing::new(rotation.statement.encode().to_vec())),
            secret: Hex32(rotation.new.secret()),
            phase: match rotation.phase {
                Phase::Prepared => PhaseRecord::Prepared,
                Phase::Registered => PhaseRecord::Registered,
                Phase::Switched => PhaseRecord::Switched,
            },
        }
    }
}

impl RotationRecord {
    pub(in crate::keystore) fn into_rotation(self) -> Option<Rotation> {
        let statement = Statement::decode(&self.statement.0).ok()?;
        let new = Identity::from_secret(&self.secret.0);
        let phase = match self.phase {
            PhaseRecord::Prepared => Phase::Prepared,
            PhaseRecord::Registered => Phase::Registered,
            PhaseRecord::Switched => Phase::Switched,
        };
        let fits = new.device_id() == statement.new_device();
        fits.then_some(Rotation { statement, new, phase })
    }
}

impl From<&Statement> for SupersededRecord {
    fn from(statement: &Statement) -> Self {
        Self { version: VERSION, statement: HexBytes(Zeroizing::new(statement.encode().to_vec())) }
    }
}

impl SupersededRecord {
    pub(in crate::keystore) fn into_statement(self) -> Option<Statement> {
        Statement::decode(&self.statement.0).ok()
    }
}
