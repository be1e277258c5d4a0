"""Networks trained by other people's released code, brought into run folders that can be measured."""
