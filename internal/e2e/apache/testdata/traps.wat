;; Traps on a record whose value begins with P.
(module
  (import "sluice:batch/1" "read" (func $read (param i32 i32 i32 i32 i32) (result i32)))
  (func (export "sluice_abi_v1"))
  (memory (export "memory") 4)
  (func (export "sluice_process") (param $records i32) (param $bytes i32) (result i32)
    (local $i i32)
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $i) (local.get $records)))
        ;; The value of record i, after the 16 bytes of its entry's head.
        (drop (call $read (i32.const 4) (local.get $i) (i32.const 1) (i32.const 1024) (i32.const 65536)))
        (if (i32.eq (i32.load8_u (i32.const 1040)) (i32.const 80)) (then (unreachable)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
    (i32.const 0)))
