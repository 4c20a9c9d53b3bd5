//! Every error a command can answer with, worded exactly as Redis words it, reviewed in this one place.

use std::borrow::Cow;
use std::fmt;

/// A command's refusal: the client's fault or the server's state, never a bug. The text is what follows the `-` on
/// the wire, its first word the error code that clients switch on. It is bytes: what it quotes of a request need not
/// be UTF-8.
#[derive(Clone, PartialEq, Eq)]
pub struct CommandError(Cow<'static, [u8]>);

impl CommandError {
    /// An error of fixed text; costs no allocation.
    pub const fn new(text: &'static str) -> Self {
        CommandError(Cow::Borrowed(text.as_bytes()))
    }

    /// An error whose text names something of the request.
    pub fn with(text: String) -> Self {
        CommandError(Cow::Owned(text.into_bytes()))
    }

    /// An error whose text quotes bytes of the request between two others.
    pub fn quoting(before: &str, quoted: &[u8], after: &str) -> Self {
        CommandError(Cow::Owned([before.as_bytes(), quoted, after.as_bytes()].concat()))
    }

    /// The text, code first, as it goes over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as people read it.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The error code: the first word, which INFO errorstats counts by.
    pub fn code(&self) -> &str {
        let code = self.0.split(|&byte| byte == b' ').next().unwrap_or_default();
        std::str::from_utf8(code).unwrap_or("ERR")
    }

    /// The wrong number of arguments for `command` (its lower-case full name, `config|get` for a subcommand).
    pub fn arity(command: &str) -> Self {
        CommandError::with(format!("ERR wrong number of arguments for '{command}' command"))
    }

    /// An option that EXPIRE and its kin do not have. Redis takes it for a C string.
    pub fn unsupported_option(option: &[u8]) -> Self {
        let option = option.split(|&byte| byte == 0).next().unwrap_or_default();
        CommandError::quoting("ERR Unsupported option ", option, "")
    }

    /// An argument that HGETEX or HSETEX does not know. Redis takes it for a C string.
    pub fn unknown_argument(argument: &[u8]) -> Self {
        let argument = argument.split(|&byte| byte == 0).next().unwrap_or_default();
        CommandError::quoting("ERR unknown argument: ", argument, "")
    }

    /// No key for `command`, which takes several.
    pub fn no_input_keys(command: &str) -> Self {
        CommandError::with(format!("ERR at least 1 input key is needed for '{command}' command"))
    }

    /// A subcommand that PFDEBUG does not have. Redis takes it for a C string.
    pub fn unknown_pfdebug(name: &[u8]) -> Self {
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        CommandError::quoting("ERR Unknown PFDEBUG subcommand '", name, "'")
    }

    /// An expire time out of range for `command`.
    pub fn invalid_expire(command: &str) -> Self {
        CommandError::with(format!("ERR invalid expire time in '{command}' command"))
    }
}

/// The key holds a value of another type than the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

impl From<WrongType> for CommandError {
    fn from(_: WrongType) -> Self {
        CommandError::WRONG_TYPE
    }
}

impl fmt::Debug for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandError({:?})", self.text())
    }
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl CommandError { $($(#[$doc])* pub const $name: CommandError = CommandError::new($text);)* }
    };
}

texts! {
    /// An option that the command does not have, or a combination that it refuses.
    SYNTAX = "ERR syntax error";
    /// The key holds a value of another type.
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    /// An argument or a stored value is not a 64-bit integer.
    NOT_INTEGER = "ERR value is not an integer or out of range";
    /// An argument or a stored value is not a floating point number.
    NOT_FLOAT = "ERR value is not a valid float";
    /// An index or count outside what the command takes.
    OUT_OF_RANGE = "ERR value is out of range";
    /// INCR and its kin would pass the 64-bit range.
    OVERFLOW = "ERR increment or decrement would overflow";
    /// DECRBY of the one number that cannot be negated.
    DECREMENT_OVERFLOW = "ERR decrement would overflow";
    /// INCRBYFLOAT would leave the numbers.
    NOT_FINITE = "ERR increment would produce NaN or Infinity";
    /// SETRANGE before the beginning.
    OFFSET_RANGE = "ERR offset is out of range";
    /// LCS of a key that holds something else.
    LCS_NOT_STRINGS = "ERR The specified keys must contain string values";
    /// A bit's offset that is no number, or beyond what a string may hold.
    BIT_OFFSET = "ERR bit offset is not an integer or out of range";
    /// SETBIT to something else than 0 or 1.
    BIT_VALUE = "ERR bit is not an integer or out of range";
    /// BITPOS of something else than 0 or 1.
    BIT_ARGUMENT = "ERR The bit argument must be 1 or 0.";
    /// BITOP NOT of several strings.
    BITOP_NOT = "ERR BITOP NOT must be called with a single source key.";
    /// An integer of no form that BITFIELD knows.
    BITFIELD_TYPE = "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
    /// BITFIELD with something else than WRAP, SAT or FAIL.
    OVERFLOW_TYPE = "ERR Invalid OVERFLOW type specified";
    /// SORT by what is no number.
    NO_WEIGHT = "ERR One or more scores can't be converted into double";
    /// BITFIELD_RO that would write.
    BITFIELD_RO = "ERR BITFIELD_RO only supports the GET subcommand";
    /// The key holds a string that is no HyperLogLog.
    HYPERLOGLOG_TYPE = "WRONGTYPE Key is not a valid HyperLogLog string value.";
    /// A HyperLogLog whose registers are damaged.
    HYPERLOGLOG_CORRUPT = "INVALIDOBJ Corrupted HLL object detected";
    /// PFDEBUG of a key that does not exist.
    PFDEBUG_NO_KEY = "ERR The specified key does not exist";
    /// PFDEBUG DECODE of a HyperLogLog that has no runs.
    PFDEBUG_NOT_SPARSE = "ERR HLL encoding is not sparse";
    /// LCS asked for a bare length and for indexes, which include it.
    LCS_LEN_AND_IDX = "ERR If you want both the length and indexes, please just use IDX.";
    /// LCS of strings whose table cannot even be sized.
    LCS_STRING_TOO_LONG = "ERR String too long for LCS";
    /// LCS would compute with more memory than a string may have.
    LCS_TABLE_TOO_LARGE = "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
    /// LCS did not get the memory it computes with.
    LCS_NO_MEMORY = "ERR Insufficient memory, failed allocating transient memory for LCS";
    /// An entry that was not exported by this server, or a payload of RESTORE that holds no value.
    BAD_ENTRY = "ERR Bad data format";
    /// RESTORE of what DUMP did not answer, or not one of a version that can be read.
    BAD_PAYLOAD = "ERR DUMP payload version or checksum are wrong";
    /// RESTORE without REPLACE of a key that exists.
    BUSY_KEY = "BUSYKEY Target key name already exists.";
    /// RESTORE with a time to live below zero.
    TTL_NEGATIVE = "ERR Invalid TTL value, must be >= 0";
    /// RESTORE with an idle time below zero.
    IDLETIME_NEGATIVE = "ERR Invalid IDLETIME value, must be >= 0";
    /// RESTORE with a frequency that is none.
    FREQUENCY_RANGE = "ERR Invalid FREQ value, must be >= 0 and <= 255";
    /// The key must exist for this command.
    NO_SUCH_KEY = "ERR no such key";
    /// LSET of an index that the list does not have.
    INDEX_RANGE = "ERR index out of range";
    /// LPOS without a first match to begin with.
    RANK_ZERO = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
                 to start from the end of the list";
    /// LPOS of less than no matches.
    COUNT_NEGATIVE = "ERR COUNT can't be negative";
    /// LPOS over less than no elements.
    MAXLEN_NEGATIVE = "ERR MAXLEN can't be negative";
    /// LMPOP and its kin without keys.
    NUMKEYS_RANGE = "ERR numkeys should be greater than 0";
    /// LMPOP and its kin of no elements.
    COUNT_NOT_POSITIVE = "ERR count should be greater than 0";
    /// To block for a time that is none.
    TIMEOUT_NOT_FLOAT = "ERR timeout is not a float or out of range";
    /// To block for a time that is no whole number.
    TIMEOUT_NOT_INTEGER = "ERR timeout is not an integer or out of range";
    /// To block into the past.
    TIMEOUT_NEGATIVE = "ERR timeout is negative";
    /// To block beyond the end of time.
    TIMEOUT_RANGE = "ERR timeout is out of range";
    /// A string would pass `proto-max-bulk-len`.
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    /// Authentication comes first.
    NO_AUTH = "NOAUTH Authentication required.";
    /// Wrong user name or password.
    WRONG_PASS = "WRONGPASS invalid username-password pair or user is disabled.";
    /// A write with maxmemory reached and nothing to evict.
    OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";
    /// A database number outside `databases`.
    DB_RANGE = "ERR DB index is out of range";
    /// SWAPDB with something else than a number first.
    DB_FIRST = "ERR invalid first DB index";
    /// SWAPDB with something else than a number second.
    DB_SECOND = "ERR invalid second DB index";
    /// A database number that does not even fit 32 bits.
    INT32_RANGE = "ERR value is out of range, value must between -2147483648 and 2147483647";
    /// COPY and MOVE of a key to where it is.
    SAME_OBJECT = "ERR source and destination objects are the same";
    /// EXPIRE and its kin with NX beside another option.
    EXPIRE_NX_ALONE = "ERR NX and XX, GT or LT options at the same time are not compatible";
    /// EXPIRE and its kin with GT and LT.
    EXPIRE_GT_LT = "ERR GT and LT options at the same time are not compatible";
    /// A number of keys that are not there.
    NUMKEYS_TOO_LARGE = "ERR Number of keys can't be greater than number of args";
    /// SINTERCARD and ZINTERCARD with a limit below zero, or with none.
    LIMIT_NEGATIVE = "ERR LIMIT can't be negative";
    /// A count that must not be negative, or is none.
    POSITIVE_RANGE = "ERR value is out of range, must be positive";
    /// A count, or a rank, that has no opposite.
    COUNT_RANGE = "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
    /// HINCRBY of a value that is no integer.
    HASH_NOT_INTEGER = "ERR hash value is not an integer";
    /// HINCRBYFLOAT of a value that is no number.
    HASH_NOT_FLOAT = "ERR hash value is not a float";
    /// HINCRBYFLOAT by infinity.
    INCREMENT_NOT_FINITE = "ERR value is NaN or Infinity";
    /// HEXPIRE and its kin without FIELDS, or with something else where it belongs.
    FIELDS_MISSING = "ERR Mandatory argument FIELDS is missing or not at the right position";
    /// HEXPIRE and its kin with a number of fields that is none, or below one.
    NUMFIELDS_RANGE = "ERR Parameter `numFields` should be greater than 0";
    /// The same of HGETDEL.
    NUMFIELDS_POSITIVE = "ERR Number of fields must be a positive integer";
    /// The same of HGETEX and HSETEX.
    NUMFIELDS_INVALID = "ERR invalid number of fields";
    /// HEXPIRE and its kin with more fields, or fewer, than they said.
    NUMFIELDS_MISMATCH = "ERR The `numfields` parameter must match the number of arguments";
    /// A field's expire time below zero.
    FIELD_EXPIRE_NEGATIVE = "ERR invalid expire time, must be >= 0";
    /// HGETEX and HSETEX with an option that wants a time, and none.
    FIELD_EXPIRE_MISSING = "ERR missing expire time";
    /// HGETEX with two options that say when fields expire.
    HGETEX_EXPIRATION = "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified";
    /// HSETEX with two options that say when fields expire.
    HSETEX_EXPIRATION = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
    /// HSETEX with both conditions on the fields.
    HSETEX_FIELDS_CONDITION = "ERR Only one of FXX or FNX arguments can be specified";
    /// HSETEX with both conditions on the key.
    HSETEX_KEY_CONDITION = "ERR Only one of NX or XX arguments can be specified";
    /// SCAN with something else than a cursor.
    INVALID_CURSOR = "ERR invalid cursor";
    /// OBJECT IDLETIME where frequencies are kept instead.
    LFU_SELECTED = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                    between policies at runtime LRU and LFU data will take some time to adjust.";
    /// OBJECT FREQ where times are kept instead.
    LFU_NOT_SELECTED = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                        when switching between policies at runtime LRU and LFU data will take some time to adjust.";
    /// The data set is still being read from disk.
    LOADING = "LOADING Redis is loading the dataset in memory";
    /// ZADD with options that exclude each other.
    ZADD_NX_XX = "ERR XX and NX options at the same time are not compatible";
    /// ZADD with comparisons that exclude each other, or one beside NX.
    ZADD_GT_LT_NX = "ERR GT, LT, and/or NX options at the same time are not compatible";
    /// ZADD INCR of several members.
    ZADD_INCR_PAIRS = "ERR INCR option supports a single increment-element pair";
    /// ZINCRBY of one infinity to the other.
    SCORE_NAN = "ERR resulting score is not a number (NaN)";
    /// A range of scores with an end that is none.
    SCORE_RANGE = "ERR min or max is not a float";
    /// A range of members with an end that is none.
    LEX_RANGE = "ERR min or max not valid string range item";
    /// ZRANGE by rank with LIMIT.
    RANGE_LIMIT = "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX";
    /// ZRANGE of equal scores with these.
    RANGE_LEX_SCORES = "ERR syntax error, WITHSCORES not supported in combination with BYLEX";
    /// ZUNION and its kin with a weight that is none.
    WEIGHT_NOT_FLOAT = "ERR weight value is not a float";
}
