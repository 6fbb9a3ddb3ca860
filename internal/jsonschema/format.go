package jsonschema

// formats are the formats that the one-pass check knows. Each accepts a part
// of what the judge accepts (whose date-time, for one, is also content with a
// date or a time alone).
var formats = map[string]func([]byte) bool{
	"date":      isDate,
	"date-time": isDateTime,
	"time":      isTime,
	"uuid":      isUUID,
}

// isDateTime accepts 2006-01-02T15:04:05Z, with a fraction of up to nine
// digits, or an offset in place of the Z.
func isDateTime(s []byte) bool {
	return len(s) >= len("2006-01-02T15:04:05Z") && s[10] == 'T' && isDate(s[:10]) && isTime(s[11:])
}

func isDate(s []byte) bool {
	if len(s) != len("2006-01-02") || s[4] != '-' || s[7] != '-' {
		return false
	}
	century, year, month, day := two(s), two(s[2:]), two(s[5:]), two(s[8:])
	if century < 0 || year < 0 || month < 1 || month > 12 || day < 1 {
		return false
	}
	switch month {
	case 4, 6, 9, 11:
		return day <= 30
	case 2:
		if leap := year%4 == 0 && (year != 0 || century%4 == 0); !leap {
			return day <= 28
		}
		return day <= 29
	}
	return day <= 31
}

// isTime accepts 15:04:05Z, with a fraction or an offset as in a date-time.
func isTime(s []byte) bool {
	if len(s) < len("15:04:05Z") || s[2] != ':' || s[5] != ':' {
		return false
	}
	if !within(two(s), 23) || !within(two(s[3:]), 59) || !within(two(s[6:]), 59) {
		return false
	}
	s = s[8:]
	if s[0] == '.' {
		n := 1
		for n < len(s) && isDigit(s[n]) {
			n++
		}
		if n == 1 || n > 10 {
			return false
		}
		s = s[n:]
	}
	if len(s) == 1 {
		return s[0] == 'Z'
	}
	return len(s) == len("+07:00") && (s[0] == '+' || s[0] == '-') && s[3] == ':' && within(two(s[1:]), 23) && within(two(s[4:]), 59)
}

func within(n, most int) bool { return n >= 0 && n <= most }

// two returns the value of two digits, -1 if s does not begin with such.
func two(s []byte) int {
	if !isDigit(s[0]) || !isDigit(s[1]) {
		return -1
	}
	return int(s[0]-'0')*10 + int(s[1]-'0')
}

// isUUID accepts lower case only, as the judge does.
func isUUID(s []byte) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !isDigit(c) && c-'a' > 5 {
				return false
			}
		}
	}
	return true
}
