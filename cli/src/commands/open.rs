//! Opening the database that the command line names.

use std::fs;

use in_mem::{Database, Durability};

use super::{Failure, note};
use crate::args::{Common, DurabilityArg};

/// Opens the database, which has to be there: a reader that mistyped a path must not get an empty database for an answer.
pub(super) fn existing(common: &Common) -> Result<Database, Failure> {
    must_be_there(common)?;
    or_new(common)
}

/// Refuses a path where there is no database.
pub(super) fn must_be_there(common: &Common) -> Result<(), Failure> {
    let path = common.db_path();
    let make = "`in-mem import` makes one, `--db PATH` names another";
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {
            Err(Failure::Failed(format!("{} is empty: there is no database in it; {make}", path.display())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::Failed(format!("there is no database at {}; {make}", path.display())))
        }
        // What else may be wrong with it, the database says itself.
        _ => Ok(()),
    }
}

/// Opens the database, making it where there is none.
pub(super) fn or_new(common: &Common) -> Result<Database, Failure> {
    let db = Database::builder().path(common.db_path()).durability(durability(common)).open()?;
    for said in db.stats()?.notes {
        note(&said);
    }
    Ok(db)
}

pub(super) fn durability(common: &Common) -> Durability {
    match common.durability {
        DurabilityArg::Buffered => Durability::buffered(),
        DurabilityArg::Strict => Durability::Strict,
    }
}
