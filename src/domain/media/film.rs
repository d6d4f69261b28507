//! temporary
use crate::error::Result;
pub struct Film{pub seconds:Option<u32>,pub width:Option<u32>,pub height:Option<u32>}
pub fn inspect(_p:&std::path::Path)->Result<Film>{Ok(Film{seconds:None,width:None,height:None})}
