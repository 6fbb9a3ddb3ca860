;; Replaces the value of the first record of each call by 8 MiB of zeros.
(module
  (import "sluice:batch/1" "write" (func $write (param i32 i32) (result i32)))
  (memory (export "memory") 140)
  ;; replace: critical, size 24 + 8 MiB, record 0, 1 record; mask VALUE, length 8 MiB
  (data (i32.const 0) "\02\00\01\00\18\00\80\00\00\00\00\00\01\00\00\00\04\00\00\00\00\00\80\00")
  (func (export "sluice_abi_v1"))
  (func (export "sluice_process") (param i32 i32) (result i32)
    (drop (call $write (i32.const 0) (i32.const 8388632)))
    (i32.const 0)))
