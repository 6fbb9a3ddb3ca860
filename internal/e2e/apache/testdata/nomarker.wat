;; A module that was not made for this.
(module
  (memory (export "memory") 1)
  (func (export "sluice_process") (param i32 i32) (result i32) (i32.const 0)))
