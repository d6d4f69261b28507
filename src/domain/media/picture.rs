//! temporary
use crate::error::Result; use super::kind::FileType;
pub enum Prepared { Original, Recompressed(Vec<u8>) }
pub struct Picture { pub content: Prepared, pub width:u32, pub height:u32, pub thumbnail: Vec<u8> }
pub fn prepare(_p:&std::path::Path,_f:FileType,_k:bool)->Result<Picture>{Ok(Picture{content:Prepared::Original,width:1,height:1,thumbnail:vec![]})}
