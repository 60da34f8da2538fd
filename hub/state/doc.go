// Package state keeps on disk what hubd must know after a restart.
//
//   - state.db: the ledger of VPC routes we made, what Decide remembers, the last want and
//     the last good topology. Every commit is on the disk before the call returns. Every
//     row carries a checksum, because SQLite has none.
//   - history.db: passes that changed something, the newest thousand. It may be lost.
//   - last.json: the last report, for hubctl when hubd is dead.
//   - hubd.lock: held as long as a State is open, so that there is one hubd per directory.
//
// Be aware:
//   - A broken state.db never stops hubd: it is kept aside as state.db.broken-N and Doubt
//     says so; nobody removes anything before a full discovery then.
//   - A state.db of a newer hubd does stop it: nothing is read, written or moved.
//   - A failed write leaves what was there before.
package state
