;; Has memory that it cannot lose, as no guest should: after a record whose value begins with "p" every further call traps. A record
;; that begins with "t" traps by itself.
(module
  (import "sluice:batch/1" "read_part" (func $part (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $spoilt (mut i32) (i32.const 0))
  (func (export "sluice_abi_v1"))
  (func (export "sluice_process") (param $records i32) (param $bytes i32) (result i32)
    (local $i i32) (local $c i32)
    (if (global.get $spoilt) (then unreachable))
    (loop $next
      (drop (call $part (local.get $i) (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 1)))
      (local.set $c (i32.load8_u (i32.const 0)))
      (if (i32.eq (local.get $c) (i32.const 112 (;p;))) (then (global.set $spoilt (i32.const 1))))
      (if (i32.eq (local.get $c) (i32.const 116 (;t;))) (then unreachable))
      (br_if $next (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $records))))
    (i32.const 0)))
