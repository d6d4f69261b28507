//! temporary
use crate::error::Result; use super::kind::FileType;
pub struct Sound{pub seconds:Option<u32>,pub voice:bool}
pub fn inspect(_p:&std::path::Path,_f:FileType)->Result<Sound>{Ok(Sound{seconds:None,voice:false})}
