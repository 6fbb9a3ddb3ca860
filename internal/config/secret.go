package config

import "log/slog"

// hidden is what stands in the place of a secret wherever one would be printed.
const hidden = "[hidden]"

// A Secret is text that must not appear in logs, errors or dumps: every way of printing it gives "[hidden]".
type Secret struct{ text string }

// NewSecret returns a Secret that holds text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text. Whoever calls it answers for where it goes.
func (s Secret) Reveal() string { return s.text }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.text == "" }

// String returns "[hidden]", or "" for an empty secret.
func (s Secret) String() string {
	if s.text == "" {
		return ""
	}
	return hidden
}

// GoString hides the text from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the text from JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the text from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// UnmarshalText sets the secret to text.
func (s *Secret) UnmarshalText(text []byte) error {
	s.text = string(text)
	return nil
}
