;; Reads all fields of all records in one call, and keeps them. Traps if it is told a wrong number of bytes, or given more than 256 KiB in several
;; records.
(module
  (import "sluice:batch/1" "read" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 16)
  (global (export "sluice_abi_v1") i32 (i32.const 1))
  (func (export "sluice_process") (param $records i32) (param $bytes i32) (result i32)
    (if (i32.ne (local.get $bytes)
                (call $read (i32.const 15) (i32.const 0) (local.get $records) (i32.const 1024) (i32.const 1000000)))
      (then unreachable))
    (if (i32.and (i32.gt_u (local.get $records) (i32.const 1)) (i32.gt_u (local.get $bytes) (i32.const 262144)))
      (then unreachable))
    (i32.const 0)))
