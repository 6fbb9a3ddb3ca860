package deps
import _ "github.com/extism/go-pdk"
