;; Takes memory until there is no more, and writes to all of it.
(module
  (func (export "sluice_abi_v1"))
  (memory (export "memory") 1)
  (func (export "sluice_process") (param i32 i32) (result i32)
    (local $page i32)
    (loop $again
      (local.set $page (memory.grow (i32.const 16)))
      (if (i32.eq (local.get $page) (i32.const -1)) (then (unreachable)))
      (memory.fill (i32.shl (local.get $page) (i32.const 16)) (i32.const 1) (i32.const 1048576))
      (br $again))
    (unreachable)))
