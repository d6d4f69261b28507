//! temporary
use crate::error::Result; use super::kind::FileType;
pub const SIDE:u32=512;
pub struct Sticker{pub bytes:Option<Vec<u8>>,pub animated:bool}
pub fn make(_p:&std::path::Path,_f:FileType)->Result<Sticker>{Ok(Sticker{bytes:None,animated:false})}
