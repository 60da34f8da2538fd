package daemon

import (
	"sync"

	"github.com/rs/zerolog"

	"peerhub/hub"
	"peerhub/hub/config"
)

// events turns reports into log lines. Info is a change that was made and a problem that
// appeared or cleared; a pass without either is debug.
type events struct {
	log zerolog.Logger

	mu       sync.Mutex
	problems map[hub.Problem]bool // of the last pass; without Detail, which may count
	troubles map[string]string    // failures outside of passes, by what they are about
	mode     hub.Mode
}

func newEvents(log zerolog.Logger) *events {
	return &events{log: log, problems: map[hub.Problem]bool{}, troubles: map[string]string{}}
}

// passed tells of a pass.
func (e *events) passed(rep hub.Report) {
	e.mu.Lock()
	defer e.mu.Unlock()
	names := spokeNames(rep)
	for _, p := range rep.Planes {
		e.changes(p, names)
	}
	news := e.problem(rep.Problems)
	if rep.Mode != e.mode && e.mode != "" {
		e.log.Info().Str(keyMode, string(rep.Mode)).Msg("mode in force")
	}
	e.mode = rep.Mode
	line := e.log.Debug()
	if rep.Changes() > 0 || news {
		line = e.log.Info()
	}
	line.Int(keyChanges, rep.Changes()).Int(keyPending, rep.Pending()).Int(keySpokes, len(rep.Spokes)).Dur(keyTook, rep.Took).Msg("pass")
}

func (e *events) changes(p hub.PlaneReport, names map[hub.SpokeID]string) {
	for i, c := range p.Applied {
		if i == maxLogged {
			e.log.Info().Str(keyPlane, string(p.Plane)).Int(keyCount, len(p.Applied)-i).Msg("more changes applied")
			return
		}
		line := e.log.Info().Str(keyPlane, string(p.Plane)).Str(keyVerb, string(c.Verb)).Str(keyObject, c.Object)
		if name := names[c.Unit.Spoke]; name != "" {
			line = line.Str(keySpoke, name)
		}
		line.Str(keyDetail, c.Detail).Msg("change applied")
	}
}

// problem tells which problems are new and which are gone, and reports whether there is any.
func (e *events) problem(now []hub.Problem) bool {
	news := false
	seen := map[hub.Problem]bool{}
	for _, p := range now {
		key := hub.Problem{Code: p.Code, Subject: p.Subject}
		if seen[key] {
			continue
		}
		seen[key] = true
		if !e.problems[key] {
			news = true
			e.log.Warn().Str(keyCode, string(p.Code)).Str(keySubject, p.Subject).Str(keyDetail, p.Detail).Str(keyMend, p.Mend).Msg("problem appeared")
		}
	}
	for key := range e.problems {
		if !seen[key] {
			news = true
			e.log.Info().Str(keyCode, string(key.Code)).Str(keySubject, key.Subject).Msg("problem cleared")
		}
	}
	e.problems = seen
	return news
}

// repaired tells of a repair that did something.
func (e *events) repaired(rep hub.PlaneReport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.changes(rep, nil)
	if rep.Error != "" {
		e.log.Warn().Str(keyPlane, string(rep.Plane)).Str(keyError, rep.Error).Msg("repair failed")
	} else if len(rep.Applied) > 0 {
		e.log.Info().Str(keyPlane, string(rep.Plane)).Int(keyChanges, len(rep.Applied)).Msg("repaired what somebody else changed")
	}
}

// surveyed tells when surveys begin to fail, and when they work again.
func (e *events) surveyed(err error) { e.trouble("survey", "AWS cannot be asked", err) }

// trouble tells of a failure once, when it appears or changes, and once when it is over.
func (e *events) trouble(about, message string, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	old, was := e.troubles[about]
	switch {
	case err == nil && was:
		delete(e.troubles, about)
		e.log.Info().Str(keySubject, about).Msg("trouble over")
	case err != nil && old != err.Error():
		e.troubles[about] = err.Error()
		e.log.Warn().Str(keySubject, about).Str(keyError, err.Error()).Msg(message)
	}
}

// mistakes are the lines of an error: one per mistake of a config.
func mistakes(err error) []string {
	list := config.Find(err)
	if list == nil {
		return []string{err.Error()}
	}
	out := make([]string, len(list))
	for i, e := range list {
		out[i] = e.Error()
	}
	return out
}

func spokeNames(rep hub.Report) map[hub.SpokeID]string {
	names := make(map[hub.SpokeID]string, len(rep.Spokes))
	for _, s := range rep.Spokes {
		names[s.ID] = s.Name
	}
	return names
}
