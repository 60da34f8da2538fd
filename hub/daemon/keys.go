package daemon

// Keys of log lines. They are constants, as are the messages: what varies is a value.
const (
	keyPlane   = "plane"
	keyVerb    = "verb"
	keyObject  = "object"
	keySpoke   = "spoke"
	keyDetail  = "detail"
	keyCode    = "code"
	keySubject = "subject"
	keyMend    = "mend"
	keyChanges = "changes"
	keyPending = "pending"
	keyTook    = "took"
	keyMode    = "mode"
	keyBy      = "by"
	keyUntil   = "until"
	keyUndo    = "undo"
	keyPlaces  = "places"
	keyError   = "error"
	keyAccount = "account"
	keyPeering = "peering"
	keySpokes  = "spokes"
	keyReason  = "reason"
	keyPath    = "path"
	keyVersion = "version"
	keyCount   = "count"
)

// Keys of notes in the state.
const (
	notePause = "pause" // JSON of pauses
	noteAdopt = "adopt" // the config's mode at a careful first start; "" or "done" otherwise
)

const adopted = "done"
