package config

import "reflect"

// NeedsRestart lists the settings that differ between the running configuration and a new one and that only a restart
// can change. All others take effect when the pipelines are swapped.
func NeedsRestart(running, new *Config) []string {
	var keys []string
	for _, s := range []struct {
		key  string
		a, b any
	}{
		{"clusters", running.Clusters, new.Clusters},
		{"listeners", running.Listeners, new.Listeners},
		{"admin", running.Admin, new.Admin},
		{"limits", running.Limits, new.Limits},
		{"log.format", running.Log.Format, new.Log.Format},
		{"cache_dir", running.CacheDir, new.CacheDir},
	} {
		if !reflect.DeepEqual(s.a, s.b) {
			keys = append(keys, s.key)
		}
	}
	return keys
}
