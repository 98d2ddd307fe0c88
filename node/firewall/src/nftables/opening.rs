//! The first things: what this kernel can do, whose the table is, and what is already in it.
//!
//! Everything here adds; nothing that is found is changed or deleted. Not for what comes later
//! (`mod.rs`).

use super::generation::{Generation, Sizes};
use super::inventory::Inventory;
use super::kernel;
use super::layout;
use super::names::GenerationNumber;
use crate::netlink::message::number;
use crate::netlink::socket::{Refusal, Socket};

/// The kernel's generation id, which every change of any ruleset in this namespace moves.
pub(super) fn kernel_generation(socket: &mut Socket) -> Result<u32, Refusal> {
    let answers = socket.ask(kernel::GETGEN, false, "asking nftables for its generation", |_| {})?;
    Ok(answers.first().and_then(|answer| number(answer, kernel::NFTA_GEN_ID)).unwrap_or(0))
}

/// Whether the kernel can delete what may not be there: tried on a table that nobody has.
pub(super) fn can_destroy(socket: &mut Socket) -> bool {
    let mut batch = socket.batch();
    batch.push(kernel::DESTROYTABLE, 0, "asking whether elements can be destroyed", |a| {
        a.text(kernel::NFTA_TABLE_NAME, "bannkreis-was-never-here");
    });
    socket.execute(batch).is_ok()
}

/// Makes the table, or makes it ours. Owned and persistent where the kernel can, else neither: an
/// owned table that does not persist would take all bans along when this process ends. Gives whether it is owned.
pub(super) fn claim_table(socket: &mut Socket, owned: bool) -> Result<bool, Refusal> {
    let owner = kernel::NFT_TABLE_F_OWNER | kernel::NFT_TABLE_F_PERSIST;
    if owned {
        let mut batch = socket.batch();
        layout::table(&mut batch, owner);
        match socket.execute(batch) {
            Err(refusal) if [libc::EOPNOTSUPP, libc::EINVAL].contains(&refusal.errno) => {}
            result => return result.map(|()| true),
        }
    }
    let mut batch = socket.batch();
    layout::table(&mut batch, 0);
    socket.execute(batch).map(|()| false)
}

/// The generation that is in force, or a new one, added to whatever else is there.
pub(super) fn adopt_or_make(socket: &mut Socket, sizes: Sizes) -> Result<Generation, Refusal> {
    let inventory = Inventory::take(socket)?;
    if let Some(generation) = Generation::adopt(&inventory, sizes) {
        return Ok(generation);
    }
    let number = inventory.newest().map_or(GenerationNumber(1), GenerationNumber::next);
    let mut batch = socket.batch();
    layout::base_chain(&mut batch);
    layout::foundation(&mut batch, number);
    layout::entrance(&mut batch, number);
    socket.execute(batch)?;
    let mut generation = Generation::new(number, sizes);
    generation.live = true;
    Ok(generation)
}
